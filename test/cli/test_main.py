import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

from km3d_ros import cli
from km3d_ros.training.settings import Method, Plan

VERBS = {
    *("adapt", "bag", "check", "convert", "detect", "eval", "export", "extract"),
    *("fit-covariance", "town", "train"),
}


def test_help_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert shown >= VERBS


@pytest.mark.parametrize("arguments", [[], ["fly"], ["eval", "--labels"], ["eval", "--iou", "2"]])
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: km3d" in capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_one(tmp_path, capsys):
    missing = tmp_path / "labels"
    assert cli.main(["eval", "--labels", str(missing), "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"km3d eval: {missing}: no such folder\n"


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_code_says_how_a_verb_ended(error, code, monkeypatch, tmp_path):
    from km3d_ros.cli import eval as verb

    def fail(args):
        raise error

    monkeypatch.setattr(verb, "run", fail)
    assert cli.main(["eval", "--labels", str(tmp_path), "--results", str(tmp_path)]) == code


def test_module_runs_like_the_command():
    program = [sys.executable, "-m", "km3d_ros.cli", "--version"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("km3d 0.")


def test_start_imports_nothing_heavy():
    script = (
        "import sys, km3d_ros.cli\n"
        "try: km3d_ros.cli.main(['--version'])\n"
        "except SystemExit: print(sorted({'torch', 'cv2', 'numpy', 'rclpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_system_error_names_the_file_and_the_cause(tmp_path, capsys):
    occupied = tmp_path / "file"
    occupied.touch()
    assert cli.main(["town", "--out", str(occupied), "--frames", "1"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"km3d town: {occupied}")
    assert shown.endswith((": Not a directory\n", ": File exists\n"))


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_shows_each_default_once(verb, capsys):
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    shown = capsys.readouterr().out
    assert "None" not in shown
    assert not re.search(r"\(default: [^)]*\)\s+\(default:", shown)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_every_verb_explains_every_option(verb, capsys):
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    lines = capsys.readouterr().out.partition("\noptions:\n")[2].splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("  -")]
    assert options
    for i in options:
        beside, below = re.search(r"\S  +\S", lines[i]), [*lines, ""][i + 1].startswith(8 * " ")
        assert beside or below, lines[i]


@pytest.mark.parametrize("verb", ["train", "adapt"])
@pytest.mark.parametrize("stripped", [False, True])
def test_help_of_a_training_explains_every_option(verb, stripped, capsys, monkeypatch):
    """Also where docstrings have no indentation (Python 3.13), or are left out (python -OO)."""
    for settings in (Plan, Method):
        monkeypatch.setattr(settings, "__doc__", None if stripped else inspect.getdoc(settings))
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--keypoint-dropout X probability that the GRM does without a keypoint" in shown
    assert "at least two stay (default: 0.2)" in shown
    assert f"number (default: {3000 if verb == 'adapt' else 12000})" in shown
    options = shown.partition(" options: ")[2]
    for field in (*dataclasses.fields(Plan), *dataclasses.fields(Method)):
        option = re.escape("--" + field.name.replace("_", "-"))
        explanation = re.search(rf"{option}( [A-Z]+|, --no-[a-z-]+)? [a-z3][^(]{{9,}}\(", options)
        assert explanation, field.name
