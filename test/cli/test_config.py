import argparse
import re
from pathlib import Path

import pytest

from km3d_ros.cli import _config, adapt, main, train

SHIPPED = Path(__file__).parents[2] / "config"
REQUIRED = ["--data", "D", "--run", "R", "--out", "O", "--unlabelled", "U"]


@pytest.fixture
def parse():
    """What the arguments of a verb say."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(dest="verb")
    for verb in (train, adapt):
        verb.add_parser(subparsers)
    return lambda *argv: vars(
        parser.parse_args(_config.with_config([str(a) for a in argv], subparsers.choices))
    )


@pytest.mark.parametrize("verb", ["train", "adapt"])
def test_shipped_file_lists_every_option_with_its_default(parse, verb):
    file = SHIPPED / "train.yaml"
    defaults = parse(verb, *REQUIRED) | {"config": file}
    assert parse(verb, "--config", file, *REQUIRED) == defaults
    named = {line.lstrip("# ").partition(":")[0] for line in file.read_text().splitlines()}
    assert defaults.keys() - {"verb", "config"} <= named


def test_shipped_file_tells_where_the_verbs_differ(parse):
    text = (SHIPPED / "train.yaml").read_text()
    defaults = parse("train", *REQUIRED)
    for name, value in adapt.DEFAULTS.items():
        assert re.search(rf"^# {name}: {defaults[name]} .*; adapt: {value}$", text, re.MULTILINE)


def test_command_line_wins_wherever_the_file_is_named(parse, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 7\nlearning_rate: 1e-4\nflip: false\ninput_size: 64x32\ndata: here\n")
    options = ["--run", "R", "--out", "O"]
    values = parse("train", "--steps", 9, "--config", file, *options)
    assert values == parse("train", *options, f"--config={file}", "--steps", 9)
    assert (values["steps"], values["learning_rate"], values["flip"]) == (9, 1e-4, False)
    assert (values["input_size"], values["data"]) == ((32, 64), [Path("here")])
    assert parse("train", "--config", file, *options, "--flip", "--data", "there")["flip"]


@pytest.mark.parametrize("more", [[], ["--steps", "3"]])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[kitti, my street/coco.json]", ["kitti", "my street/coco.json"]),
        ("[kitti]", ["kitti"]),
        ("kitti", ["kitti"]),
    ],
)
def test_option_of_several_values_is_a_text_or_a_list(parse, tmp_path, content, expected, more):
    file = tmp_path / "mine.yaml"
    file.write_text(f"boxes: {content}\nsteps: 7\n")
    values = parse("train", "--config", file, *REQUIRED, *more)
    assert values["boxes"] == [Path(name) for name in expected]
    assert values["steps"] == (3 if more else 7)
    given = parse("train", "--config", file, *REQUIRED, *more, "--boxes", "mine", "yours")
    assert given["boxes"] == [Path("mine"), Path("yours")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stepz: 3", "'stepz' is not one of architecture, backbone_weights,"),
        ("batch-size: 3", "'batch-size' is not one of"),
        ("config: other.yaml", "'config' is not one of"),
        ("run: [a, b]", "run is ['a', 'b'], expected one number or text"),
        ("just words", "expected lines of the form key: value"),
        ("a: b: c", "not a YAML file (mapping values are not allowed here"),
        ("x" * 70_000, "70000 bytes, expected a file of at most 65536"),
        (
            f"steps: [{'x' * 60_000}]",
            "steps is ['xxxxxxxxxxxx...xxxxxxxxxxxxx'], expected one numb",
        ),
        (f"{'x' * 900}: 1", "'xxxxxxxxxxxx...xxxxxxxxxxxxx' is not one of"),
    ],
)
def test_bad_file_is_one_line(tmp_path, capsys, content, message):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    assert main(["train", "--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"km3d train: {file}: {message}")
    assert error.count("\n") == 1


def test_missing_file_is_named(capsys):
    assert main(["train", "--config", "/none.yaml"]) == 1
    assert capsys.readouterr().err == "km3d train: /none.yaml: No such file or directory\n"


def test_file_that_is_not_given_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config"])
    assert stop.value.code == 2
    assert "argument --config: expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps: few", "steps: 'few' is not a number from 0 up"),
        ("steps: true", "steps is True, expected one number or text"),
        ("learning_rate: fast", "learning_rate: 'fast' is not a number from 0 up"),
        (
            "input_size: big",
            "input_size: 'big' is not WIDTHxHEIGHT in multiples of 32, at most 8388608 pixels",
        ),
        ("flip: 'no'", "flip is 'no', expected true or false"),
        ("boxes: 3", "boxes is 3, expected one text or several"),
        ("boxes: []", "boxes is [], expected one text or several"),
        ("boxes: [a, 2]", "boxes is ['a', 2], expected one text or several"),
        ("boxes: {a: b}", "boxes is {'a': 'b'}, expected one text or several"),
        ("boxes: [a, --flip]", "boxes is ['a', '--flip'], expected one text or several"),
        ("boxes: ['']", "boxes is [''], expected one text or several"),
    ],
)
def test_value_of_the_file_is_checked_like_an_option(tmp_path, capsys, content, message):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    assert main(["train", "--config", str(file), *REQUIRED]) == 1
    assert capsys.readouterr().err == f"km3d train: {file}: {message}\n"
