"""Read files of `torch.save` from anywhere: tensors and plain values, never code."""

from __future__ import annotations

import argparse
import codecs
import os
import re
import zipfile
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch

from km3d_ros.errors import InputError, check_downloaded

_NUMBER = re.compile(r"[fiub][1248]")
"""NumPy's codes of numbers of 1 to 8 bytes."""


def read(path: str | Path) -> Any:
    """The content of a file, on the CPU. It takes about as much memory as on disk.

    Beside tensors and plain values a file may hold NumPy's scalars, which become Python's, and
    options of argparse.

    Raises:
        InputError: missing, damaged, or with a value of another type, which is named.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    check_downloaded(path)
    try:
        if not _grows(path):
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise _unreadable(path, str(error)) from error
    raise _unreadable(path)


class _NumberType:
    """Replaces numpy.dtype, which could describe a value of any size."""

    def __init__(self, code: str, *_: object) -> None:
        if not _NUMBER.fullmatch(code):
            raise ValueError(f"NumPy type {code!r}")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.code = ">" + self.code


def _number(kind: _NumberType, data: bytes) -> float | int | bool:
    """Replaces numpy's scalar."""
    return np.frombuffer(data, kind.code)[0].item()


def _standing_for(function: Any, module: str, name: str) -> Any:
    """Give a function the name by which files refer to another one."""
    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


def _scalar_of(module: str) -> Any:
    return _standing_for(lambda kind, data: _number(kind, data), module, "scalar")


torch.serialization.add_safe_globals(
    [
        argparse.Namespace,
        codecs.encode,  # how pickle writes bytes; PyTorch 2.4 does not allow it by itself
        _standing_for(_NumberType, "numpy", "dtype"),
        # Before and after NumPy 2.
        _scalar_of("numpy.core.multiarray"),
        _scalar_of("numpy._core.multiarray"),
    ]
)


def _grows(path: str | Path) -> bool:
    """Whether a file takes more memory than on disk. PyTorch does not write such files."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        # The only allowed function whose argument sets how much memory it takes.
        if data.find(b"bytearray") >= 0:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path)


def _unreadable(path: str | Path, cause: str = "") -> InputError:
    named = re.search(r"GLOBAL ([\w.]{1,100}) was not an allowed", cause)
    types = f" (it holds a {named[1]})" if named else ""
    return InputError(f"{path}: damaged, or not a PyTorch file of plain tensors{types}")
