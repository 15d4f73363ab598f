"""Writing recordings: rosbag2 folders, or single MCAP files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.metadata import dump_qos_v8, parse_qos

from km3d_ros.bag.mcap_file import McapWriter
from km3d_ros.bag.message import METADATA_VERSION, Message, Topic
from km3d_ros.bag.sqlite_file import SqliteWriter
from km3d_ros.errors import InputError

_WRITERS = {"mcap": McapWriter, "sqlite3": SqliteWriter}


class RecordingWriter:
    """Context manager that writes a recording in a scratch folder and moves it when complete.

    If the block raises an error, nothing is left.
    """

    def __init__(self, path: Path, scratch: Path, storage: str, compression: str = "") -> None:
        """Prepare.

        path: a single file where it ends in `.mcap`, else a folder.
        scratch: folder to write in, on the same file system; its content is deleted.
        storage: "mcap" or "sqlite3"; a single file is always MCAP.
        compression: of MCAP chunks: "lz4", "zstd" or "".
        """
        self._path = path
        self._scratch = scratch
        self._single = path.suffix == ".mcap"
        self._storage = "mcap" if self._single else storage
        self._compression = compression
        self._numbers: dict[Topic, int] = {}
        self._counts: Counter[Topic] = Counter()
        self._first, self._last = 2**63 - 1, 0

    def __enter__(self) -> RecordingWriter:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        writer = _WRITERS[self._storage]
        self._file = self._scratch / f"{self._path.stem}_0{writer.suffix}"
        with naming_file(self._file):
            self._writer = writer(self._file, self._compression)
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                with naming_file(self._file):
                    self._finish()
        finally:
            with suppress(OSError, sqlite3.Error):  # a full disk fails again
                self._writer.close()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def write(self, message: Message) -> None:
        """Append a message.

        Raises:
            OSError, InputError: the file cannot be written; the message names it.
        """
        with naming_file(self._file):
            number = self._numbers.get(message.topic)
            if number is None:
                number = self._writer.add_topic(_as_written(message.topic))
                self._numbers[message.topic] = number
            self._writer.write(number, message)
        self._counts[message.topic] += 1
        self._first = min(self._first, message.time)
        self._last = max(self._last, message.time)

    def _finish(self) -> None:
        metadata = self._metadata()
        self._writer.finish(yaml.safe_dump(metadata))
        self._writer.close()
        with self._file.open("rb") as file:
            os.fsync(file.fileno())
        if self._single:
            self._file.replace(self._path)
            return
        content = yaml.safe_dump({"rosbag2_bagfile_information": metadata}, sort_keys=False)
        (self._scratch / "metadata.yaml").write_text(content)
        self._scratch.rename(self._path)

    def _metadata(self) -> dict:
        """The content of rosbag2's metadata.yaml."""
        count = self._counts.total()
        span = {
            "starting_time": {"nanoseconds_since_epoch": self._first if count else 0},
            "duration": {"nanoseconds": max(0, self._last - self._first)},
            "message_count": count,
        }
        return {
            "version": METADATA_VERSION,
            "storage_identifier": self._storage,
            "relative_file_paths": [self._file.name],
            **span,
            "topics_with_message_count": [
                {"topic_metadata": _described(topic), "message_count": number}
                for topic, number in self._counts.items()
            ],
            "compression_format": "",
            "compression_mode": "",
            "files": [{"path": self._file.name, **span}],
            "custom_data": None,
            "ros_distro": "",
        }


@contextmanager
def naming_file(file: Path) -> Iterator[None]:
    """Add the name of the file to errors of the system and of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"{file}: {error}") from error
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def _as_written(topic: Topic) -> Topic:
    """The topic with its QoS policies as numbers, as `METADATA_VERSION` requires."""
    try:
        return topic._replace(qos=dump_qos_v8(parse_qos(topic.qos)))
    except (ReaderError, AttributeError, KeyError, TypeError):
        return topic._replace(qos="")


def _described(topic: Topic) -> dict:
    return {
        "name": topic.name,
        "type": topic.type,
        "serialization_format": topic.encoding,
        "offered_qos_profiles": _as_written(topic).qos,
        "type_description_hash": topic.type_hash,
    }
