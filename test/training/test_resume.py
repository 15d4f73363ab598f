"""Trainings that are killed with SIGKILL end as if nothing had happened."""

import random
import signal
import time

import pytest
import torch
from support.frames import write_frames
from support.mortal import STEPS, context, train, train_until_write


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted training and the seconds that it took."""
    run = tmp_path_factory.mktemp("whole")
    process = context().Process(target=train, args=(data, run))
    start = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0
    return run, time.monotonic() - start


def assert_same(run, other):
    """The same loss curve, and the same weights to the last bit."""
    assert (run / "log.csv").read_text() == (other / "log.csv").read_text()
    states = [torch.load(folder / "state.pt") for folder in (run, other)]
    assert states[0]["step"] == states[1]["step"] == STEPS
    for part in ("model", "average"):
        for (name, a), b in zip(states[0][part].items(), states[1][part].values(), strict=True):
            assert torch.equal(a, b), name


def test_killed_at_three_random_moments(data, whole, tmp_path):
    run, seconds = whole
    moments = random.Random(5)
    for _ in range(3):
        process = context().Process(target=train, args=(data, tmp_path))
        process.start()
        process.join(moments.uniform(0.2, 0.8) * seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    last = context().Process(target=train, args=(data, tmp_path))
    last.start()
    last.join()
    assert_same(run, tmp_path)


def test_killed_while_the_state_is_written(data, whole, tmp_path):
    for fatal_write, code in ((3, -signal.SIGKILL), (1, -signal.SIGKILL), (0, 0)):
        arguments = (data, tmp_path, fatal_write)
        process = context().Process(target=train_until_write, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == code
    assert_same(whole[0], tmp_path)
