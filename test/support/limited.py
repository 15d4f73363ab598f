"""Calls that a hostile file must not make expensive, in a process of their own."""

import resource
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from km3d_ros.errors import InputError


def refusals(function: Callable[[Path], object], paths: Iterable[Path]) -> tuple[list[str], int]:
    """What the InputErrors of `function(path)` say, and the megabytes that all calls took."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        before = process.submit(_megabytes, function).result()
        said = list(process.map(partial(_refusal, function), paths))
        return said, process.submit(_megabytes, function).result() - before


def _megabytes(imported: Callable) -> int:
    """The most memory that the process ever had, the module of a function included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _refusal(function: Callable[[Path], object], path: Path) -> str:
    try:
        function(path)
    except InputError as error:
        return str(error)
    return "accepted"
