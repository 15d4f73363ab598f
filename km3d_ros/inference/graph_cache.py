"""Exported graphs on disk, so that only the first start of a set of weights exports it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[1]
SOURCES = ("geometry", "inference", "network")
"""Parts of the package that a graph is made of."""
_CHECKSUM = hashlib.sha256


def folder() -> Path:
    """$XDG_CACHE_HOME/km3d_ros, by default ~/.cache/km3d_ros."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "km3d_ros"


def cached(weights: Path, export: Callable[[], bytes]) -> bytes:
    """The graph of a weights file: as it was kept, or exported and kept.

    What was made of other weights, by other code or by another PyTorch has another name; what
    was damaged is exported again. Where nothing can be written the graph is not kept.
    """
    path = folder() / f"{weights.stem}-{_fingerprint(weights)}.onnx"
    graph = _read(path)
    if graph is None:
        log.info("exporting %s, once: kept as %s", weights.name, path)
        graph = export()
        _write(path, graph)
    return graph


def _read(path: Path) -> bytes | None:
    """What was kept, if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, graph = content[: _CHECKSUM().digest_size], content[_CHECKSUM().digest_size :]
    if checksum != _CHECKSUM(graph).digest():
        log.warning("%s is damaged: it is made anew", path)
        return None
    return graph


def _write(path: Path, graph: bytes) -> None:
    """Keep a graph behind its checksum; another process sees all of it or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(_CHECKSUM(graph).digest() + graph)
                file.close()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise
    except OSError as error:
        log.warning("%s cannot be kept (%s): the next start exports again", path, error.strerror)


def _fingerprint(weights: Path) -> str:
    """Of everything that a graph depends on."""
    digest = hashlib.sha256(weights.read_bytes())
    digest.update(_code().encode())
    return digest.hexdigest()[:16]


@cache
def _code() -> str:
    digest = hashlib.sha256(torch.__version__.encode())
    for part in SOURCES:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
