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
def said_by_options() -> Iterator[None]:
    """Turn an InputError into a UsageError, because it depends on options only."""
    try:
        yield
    except InputError as error:
        raise UsageError(str(error)) from error


def count(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def count_up_to(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def limited(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return limited


def topic_prefix(text: str) -> str:
    """An absolute topic name, without a slash at its end."""
    if not re.fullmatch(r"(/[A-Za-z_]\w*)+/?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}, expected an absolute topic such as /km3d")
    return text.rstrip("/")


def natural(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


def to_float(text: str) -> float:
    """A number; NaN, which lies in no range, for other texts."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def number(text: str) -> float:
    """A number from 0 up."""
    value = to_float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return value


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = to_float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def output_file(text: str) -> Path:
    """A file to write; a folder is refused before the work starts."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, expected a file to write")
    return path
