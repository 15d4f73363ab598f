"""km3d bag that stops before its end goes on where it was."""

import signal

import pytest
from support.drives import die_at, drive, run_in_a_process

from km3d_ros.cli import main
from km3d_ros.inference.detector import Detector


@pytest.fixture
def options(weights):
    limits = ["--score-threshold", "0", "--max-detections", "4"]
    return ["--weights", str(weights), "--device", "cpu", *limits]


def run(*arguments):
    return main(["bag", *map(str, arguments)])


@pytest.fixture
def whole(tmp_path, options):
    """A recording, and what an uninterrupted run makes of it."""
    bag = drive(tmp_path / "in.mcap", 8)
    (tmp_path / "whole").mkdir()
    assert run(bag, tmp_path / "whole" / "out.mcap", *options) == 0
    return bag, (tmp_path / "whole" / "out.mcap").read_bytes()


def test_killed_run_goes_on_where_it_stopped(tmp_path, options, whole, monkeypatch):
    bag, expected = whole
    arguments = [bag, tmp_path / "out.mcap", *options]
    assert run_in_a_process(arguments, tmp_path / "log", kill_at=5) == -signal.SIGKILL
    assert not (tmp_path / "out.mcap").exists()
    answered = []
    batch = Detector.__call__
    monkeypatch.setattr(Detector, "__call__", lambda *given: answered.append(1) or batch(*given))
    assert run(*arguments) == 0
    assert (tmp_path / "out.mcap").read_bytes() == expected
    assert len(answered) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.mcap",
        "log",
        "out.mcap",
        "whole",
    ]


def test_interrupted_run_says_how_to_go_on(tmp_path, options, whole, monkeypatch, capsys):
    bag, expected = whole
    arguments = [bag, tmp_path / "out.mcap", *options]
    with monkeypatch.context() as patches:
        die_at(3, signal.SIGINT, patches.setattr)
        assert run(*arguments) == 130
    partial = tmp_path / "out.mcap.partial"
    assert f"the same command goes on from {partial}" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert (tmp_path / "out.mcap").read_bytes() == expected


def test_unfinished_run_is_not_continued_with_other_options_or_another_recording(
    tmp_path, options, whole, monkeypatch, capsys
):
    bag, _ = whole
    with monkeypatch.context() as patches:
        die_at(3, signal.SIGINT, patches.setattr)
        run(bag, tmp_path / "out.mcap", *options)
    capsys.readouterr()
    other = drive(tmp_path / "other.mcap", 2)
    for source, option, message in (
        (bag, ["--grm", "published"], "grm was 'consistent', now 'published'"),
        (bag, ["--rectified"], "cameras was"),
        (other, [], "source was"),
    ):
        assert run(source, tmp_path / "out.mcap", *options, *option) == 1
        shown = capsys.readouterr().err
        assert shown.startswith(f"km3d bag: {tmp_path}/out.mcap.partial is of another run")
        assert message in shown
        assert shown.count("\n") == 1


@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_full_disk_is_named_and_what_was_done_is_kept(tmp_path, options, whole, limit):
    bag, expected = whole
    arguments = [bag, tmp_path / "out.mcap", *options]
    log = tmp_path / "log"
    assert run_in_a_process(arguments, log, file_limit=limit) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"km3d bag: {tmp_path}/out.mcap.partial/")
    assert "out_0.mcap: File too large" in line or "journal.db3: disk I/O error" in line
    assert not (tmp_path / "out.mcap").exists()
    assert run(*arguments) == 0
    assert (tmp_path / "out.mcap").read_bytes() == expected
