import csv
import socket

import pytest
import torch
from support.frames import write_frames
from support.mortal import STOPPED, context, train, train_as_one_of_two

from km3d_ros.training import processes


def run_both(data, run, architecture):
    """Two processes that train together; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        context().Process(target=train_as_one_of_two, args=(rank, port, data, run, architecture))
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    return [process.exitcode for process in both]


def log_of(run):
    with (run / "log.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_two_processes_learn_what_one_does(tmp_path):
    data = write_frames(tmp_path / "data", 5)
    network = "tiny_without_statistics"
    assert run_both(data, tmp_path / "two", network) == [0, 0]
    one = context().Process(target=train, args=(data, tmp_path / "one", network))
    one.start()
    one.join()
    for a, b in zip(log_of(tmp_path / "one"), log_of(tmp_path / "two"), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    states = [torch.load(tmp_path / name / "state.pt")["model"] for name in ("one", "two")]
    for (name, a), b in zip(states[0].items(), states[1].values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6, msg=name)


def test_error_in_one_process_ends_both(tmp_path):
    data = write_frames(tmp_path / "data", 5)
    broken = data / "image_2" / "000003.png"
    broken.write_bytes(broken.read_bytes()[:60])  # the header, which is read first, is whole
    assert run_both(data, tmp_path / "run", "tiny") == [STOPPED, STOPPED]
    errors = sorted((tmp_path / f"error{rank}.txt").read_text() for rank in (0, 1))
    assert errors == [
        f"{broken}: not a readable PNG or JPEG image (60 bytes)",
        "stopped because another process of this training did",
    ]
    assert (tmp_path / "run" / "state.pt").exists()


def test_one_process_needs_no_others():
    with processes.joined("cpu") as device:
        assert device == torch.device("cpu")
        assert (processes.rank(), processes.count()) == (0, 1)
        assert not processes.in_any(False, device)
        assert processes.from_first(lambda: 5) == 5
