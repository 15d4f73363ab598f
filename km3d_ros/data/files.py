"""Read whole files up to a limit of their size, and the numbers in them."""

from __future__ import annotations

import math
import os
import reprlib
import stat
from pathlib import Path
from textwrap import shorten
from typing import Any

from km3d_ros.errors import InputError, check_downloaded

MAX_TEXT = 2**20
"""Largest text file in bytes. The labels of one frame have a few thousand."""
_MAX_YAML = 2**16
"""Largest YAML file in bytes. The parser needs a second for it."""


def read_bytes(path: str | Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        InputError: no such file, not a regular file, larger, or not readable.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a file")
        if status.st_size > limit:
            raise InputError(f"{path}: {status.st_size} bytes, expected a file of at most {limit}")
        check_downloaded(path)
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def read_text(path: str | Path, limit: int = MAX_TEXT) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a byte-order mark.

    Raises:
        InputError: as of `read_bytes`, or not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file") from error


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file in plain Python types; None if it is empty.

    Raises:
        InputError: as of `read_text`, or not YAML.
    """
    # Imported late: most commands read no YAML.
    import yaml

    text = read_text(path, _MAX_YAML)
    try:
        return yaml.safe_load(text)
    # The other errors come from its conversions of hostile scalars.
    except (yaml.YAMLError, AttributeError, RecursionError, ValueError) as error:
        cause = shorten(str(error), 300, placeholder=" ...")
        raise InputError(f"{path}: not a YAML file ({cause})") from error


def numbers(columns: list[str], where: str) -> list[float]:
    """The numbers in columns of text; `where` is the file and line for messages.

    Raises:
        InputError: a column is not a finite number.
    """
    found = []
    for column in columns:
        try:
            found.append(float(column))
        except ValueError:
            raise InputError(f"{where}: {reprlib.repr(column)} is not a number") from None
        if not math.isfinite(found[-1]):
            raise InputError(f"{where}: {reprlib.repr(column)} is not a finite number")
    return found
