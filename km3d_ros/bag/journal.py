"""What was found so far, kept on disk frame by frame: it survives the process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from km3d_ros.bag.writing import naming
from km3d_ros.errors import InputError


class Result(NamedTuple):
    """What became of a frame.

    detections, objects: serialised messages; None where the frame could not be used.
    exact: its CameraInfo carries the same stamp.
    cause, reason: why it could not be used; else empty.
    """

    detections: bytes | None
    objects: bytes | None
    exact: bool
    cause: str = ""
    reason: str = ""


class Journal:
    """The results of a run, in the order of its frames; a context manager."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        """Open the journal of this run, or begin it.

        Args:
            path: the file.
            run: everything that the results depend on, as JSON has it.

        Raises:
            InputError: the journal is that of another run, in use, or broken.
        """
        self._path = path
        with naming(path):
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS run(description TEXT)")
            fields = "number INTEGER PRIMARY KEY, detections, objects, exact, cause, reason"
            self._database.execute(f"CREATE TABLE IF NOT EXISTS results({fields})")
            if self.has_detections():
                begun = self._database.execute("SELECT description FROM run").fetchone()
                self._check(json.loads(begun[0]), run)
            else:
                self._begin(run)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def __len__(self) -> int:
        with naming(self._path):
            return self._database.execute("SELECT count(*) FROM results").fetchone()[0]

    def __iter__(self) -> Iterator[Result]:
        query = "SELECT detections, objects, exact, cause, reason FROM results ORDER BY number"
        with naming(self._path):
            for detections, objects, exact, cause, reason in self._database.execute(query):
                yield Result(detections, objects, bool(exact), cause, reason)

    def has_detections(self) -> bool:
        """Whether any frame could be used."""
        query = "SELECT number FROM results WHERE detections IS NOT NULL LIMIT 1"
        with naming(self._path):
            return self._database.execute(query).fetchone() is not None

    def add(self, result: Result) -> None:
        """Append the result of the next frame.

        Raises:
            InputError: it cannot be written.
        """
        with naming(self._path):
            self._database.execute("INSERT INTO results VALUES (NULL, ?, ?, ?, ?, ?)", result)

    def _begin(self, run: Mapping[str, Any]) -> None:
        """Forget what there is: not one frame could be used."""
        self._database.execute("DELETE FROM results")
        self._database.execute("DELETE FROM run")
        self._database.execute("INSERT INTO run VALUES (?)", (json.dumps(run),))

    def _check(self, begun: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        for name, value in json.loads(json.dumps(run)).items():
            if begun.get(name) != value:
                raise InputError(
                    f"{self._path.parent} is of another run ({name} was {begun.get(name)!r}, now "
                    f"{value!r}): repeat that one, or delete the folder"
                )
