import signal

import pytest
from support.mortal import BlockedSignals
from torch.utils.data import DataLoader

from km3d_ros.training import interruption


def test_first_ctrl_c_is_noted_and_the_second_one_interrupts():
    with interruption.noted() as happened:
        assert not happened()
        signal.raise_signal(signal.SIGINT)
        assert happened()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_spares_the_processes_that_load_frames():
    """A new Python process starts PyTorch: slow."""
    loader = DataLoader(BlockedSignals(), None, num_workers=1, multiprocessing_context="spawn")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert next(interruption.start_loading(loader)) == sorted(before | {signal.SIGINT})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
