"""Files of `torch.save`, from whoever wrote them: tensors and plain values, never code."""

from __future__ import annotations

import os
import zipfile
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch

from km3d_ros.errors import InputError


def read(path: str | Path) -> Any:
    """What a file holds, on the CPU; it takes about as much memory as on disk.

    Raises:
        InputError: missing, damaged, or more than tensors and plain values.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    try:
        if not _grows(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise _unreadable(path) from error
    raise _unreadable(path)


def _grows(path: str | Path) -> bool:
    """Whether a file is small on disk alone, which those that PyTorch writes are not."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        # Of what may be called in such a file, the one that takes memory by its argument.
        if data.find(b"bytearray") >= 0:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path)


def _unreadable(path: str | Path) -> InputError:
    return InputError(f"{path}: damaged, or not a PyTorch file of plain tensors")
