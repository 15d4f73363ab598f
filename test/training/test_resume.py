"""A training that was killed with SIGKILL and resumed gives the same files as a whole one."""

import signal

import pytest
import torch
from support.frames import write_frames
from support.mortal import STEPS, context, train, train_until_step, train_until_write


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted training."""
    run = tmp_path_factory.mktemp("whole")
    assert exit_code(train, data, run) == 0
    return run


def exit_code(function, *args):
    process = context().Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


def assert_same(run, other):
    """The same loss curve, and the same weights to the last bit."""
    assert (run / "log.csv").read_text() == (other / "log.csv").read_text()
    states = [torch.load(folder / "state.pt") for folder in (run, other)]
    assert states[0]["step"] == states[1]["step"] == STEPS
    for part in ("model", "average"):
        for (name, a), b in zip(states[0][part].items(), states[1][part].values(), strict=True):
            assert torch.equal(a, b), name


def test_killed_in_the_middle_of_steps(data, whole, tmp_path):
    """The second time, the log has a line that belongs to no saved state."""
    for fatal_step, saved in ((2, None), (5, 3), (4, 6), (3, 6)):
        assert exit_code(train_until_step, data, tmp_path, fatal_step) == -signal.SIGKILL
        state = tmp_path / "state.pt"
        assert (torch.load(state)["step"] if state.exists() else None) == saved
    assert exit_code(train, data, tmp_path) == 0
    assert_same(whole, tmp_path)


def test_killed_while_files_are_written(data, whole, tmp_path):
    for fatal_write in (3, 1, 2):
        assert exit_code(train_until_write, data, tmp_path, fatal_write) == -signal.SIGKILL
    assert exit_code(train, data, tmp_path) == 0
    assert_same(whole, tmp_path)
