"""Types of command line arguments, and the error for wrong usage."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from km3d_ros.errors import InputError


class UsageError(Exception):
    """Options that are wrong or do not go together; `main` reports them as argparse does."""


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn an InputError into a UsageError, because it depends on options only."""
    try:
        yield
    except InputError as error:
        raise UsageError(str(error)) from error


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """The type of whole numbers in a range; both ends belong to it."""
    span = f"from {least} up" if most == math.inf else f"from {least} to {most}"

    def parse(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {span}")
        return int(text)

    return parse


def number(least: float, most: float, span: str) -> Callable[[str], float]:
    """The type of numbers in a range, which `span` describes; both ends belong to it."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan  # which lies in no range
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {span}")
        return value

    return parse


def sides(text: str) -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT; zeros for other texts."""
    found = re.fullmatch(r"(\d+)x(\d+)", text, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def topic_prefix(text: str) -> str:
    """An absolute topic name, without a slash at its end."""
    if not re.fullmatch(r"(/[A-Za-z_]\w*)+/?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}, expected an absolute topic such as /km3d")
    return text.rstrip("/")


def output_file(text: str) -> Path:
    """A file to write; a folder is refused before the work starts."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, expected a file to write")
    return path
