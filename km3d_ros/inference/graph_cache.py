"""A cache of exported graphs on disk: each set of weights is exported once."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[1]
SOURCES = ("geometry", "inference", "network")
_CHECKSUM = hashlib.sha256


def folder() -> Path | None:
    """$XDG_CACHE_HOME/km3d_ros, by default ~/.cache/km3d_ros; None without a home folder.

    A container that runs as a user without an entry in /etc/passwd may have none.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "km3d_ros"
    except RuntimeError:
        return None


def cached(weights: Path, export: Callable[[], bytes]) -> bytes:
    """The graph of a weights file, from the cache or exported and then cached.

    The name in the cache depends on the weights, the code and the version of PyTorch. A damaged
    file is exported again. Without a home folder, or if the folder cannot be written, the graph
    is exported at every start.
    """
    cache_folder = folder()
    if cache_folder is None:
        log.info("exporting %s: there is no home folder to keep it in", weights.name)
        return export()
    fingerprint = hashlib.sha256(weights.read_bytes() + _code()).hexdigest()[:16]
    path = cache_folder / f"{weights.stem}-{fingerprint}.onnx"
    graph = _read(path)
    if graph is None:
        log.info("exporting %s, once: kept as %s", weights.name, path)
        graph = export()
        _write(path, graph)
    return graph


def _read(path: Path) -> bytes | None:
    """The content of a file in the cache; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, graph = content[: _CHECKSUM().digest_size], content[_CHECKSUM().digest_size :]
    if checksum != _CHECKSUM(graph).digest():
        log.warning("%s is damaged: exporting again", path)
        return None
    return graph


def _write(path: Path, graph: bytes) -> None:
    """Write a checksum and the graph; another process sees the complete file or none."""
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


@cache
def _code() -> bytes:
    """A digest of the code that determines a graph."""
    digest = hashlib.sha256(version("torch").encode())
    for part in SOURCES:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()
