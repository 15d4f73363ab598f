"""Options from a YAML file: its keys are the options of a verb, with `_` for `-`."""

from __future__ import annotations

import argparse
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from km3d_ros.data.files import read_yaml
from km3d_ros.errors import InputError


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config` for a verb."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file with any of these options (steps: 100); the command line wins",
    )


def with_config(argv: list[str], parsers: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """The arguments, preceded by those of the `--config` file, so that the command line wins.

    parsers: the parser of each verb.

    Raises:
        InputError: not a YAML file, a key that is not an option of the verb, or a value that the
            option does not accept.
    """
    verb, *others = argv or [""]
    actions = parsers[verb]._actions if verb in parsers else []
    known = {action.dest: action for action in actions if action.dest != "help"}
    if "config" not in known:
        return argv
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", type=Path)
    try:
        file = finder.parse_known_args(others)[0].config
    except argparse.ArgumentError:  # reported by the parser of the verb, with its usage
        file = None
    if file is None:
        return argv
    del known["config"]
    arguments = []
    options = read_yaml(file) or {}
    if not isinstance(options, dict):
        raise InputError(f"{file}: expected lines of the form key: value")
    for key, value in options.items():
        if key not in known:
            shown, names = reprlib.repr(key), ", ".join(sorted(known))
            raise InputError(f"{file}: {shown} is not one of {names}")
        if value is not None:
            arguments += _argument(f"{file}: {key}", known[key], value)
    return [verb, *arguments, *others]


def _argument(where: str, action: argparse.Action, value: Any) -> list[str]:
    name, shown = action.dest.replace("_", "-"), f"{where} is {reprlib.repr(value)}"
    if isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise InputError(f"{shown}, expected true or false")
        return [f"--{name}" if value else f"--no-{name}"]
    if action.nargs == "+":
        values = value if isinstance(value, list) else [value]
        # What starts with a dash would be the next option.
        if not values or not all(isinstance(v, str) and v[:1] not in ("", "-") for v in values):
            raise InputError(f"{shown}, expected one text or several")
        return [f"--{name}", *values]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{shown}, expected one number or text")
    try:
        (action.type or str)(str(value))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{where}: {error}") from error
    return [f"--{name}={value}"]
