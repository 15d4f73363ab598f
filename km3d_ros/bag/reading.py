"""Reading recordings, whole or damaged: rosbag2 folders, their files, and ROS 1 bags.

rosbags alone cannot read a folder without metadata.yaml, as a recorder that died leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import zstandard

from km3d_ros.bag.mcap_file import McapReader
from km3d_ros.bag.message import Message, Report
from km3d_ros.bag.ros1_file import Ros1Reader
from km3d_ros.bag.sqlite_file import SqliteReader
from km3d_ros.bag.writing import naming_file
from km3d_ros.data.files import read_yaml
from km3d_ros.errors import InputError, check_downloaded

_STORAGES = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "ROS 1"}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Recording:
    """A recording: all storage files of a folder, listed in its metadata.yaml or not.

    storage: "mcap", "sqlite3" or "ROS 1".
    compression: of the MCAP chunks that were read so far: "lz4", "zstd" or "".
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        """Open a recording; `scratch`: folder for files that have to be unpacked.

        Raises:
            InputError: there is no such recording.
        """
        self._path, self._scratch = path, scratch
        self._files = _storage_files(path)
        self.storage, *others = sorted({_STORAGES[_suffix(file)] for file in self._files})
        if others:
            kinds = " and ".join((self.storage, *others))
            raise InputError(f"{path}: files of {kinds}, expected those of one recording")
        self.compression = ""

    def messages(self, report: Report) -> Iterator[Message]:
        """Iterate over the messages in the order of the files, which may differ from that of time.

        report: receives the damaged spots.
        """
        for name in _missing(self._path):
            report(f"{self._path / name}: the file is missing")
        for file in self._files:
            path = self._unpacked(file, report)
            if self.storage == "mcap":
                reader = McapReader(path, report)
            elif self.storage == "ROS 1":
                reader = Ros1Reader(path, report)
            else:
                reader = SqliteReader(path, report, self._scratch)
            for message in reader:
                yield from _decompressed(message, file, report)
            self.compression = self.compression or reader.compression

    def _unpacked(self, file: Path, report: Report) -> Path:
        """The file itself, or the part of a compressed file that can be decompressed."""
        if file.suffix != ".zstd":
            return file
        target = self._scratch / file.stem
        if not target.exists():
            self._scratch.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as source, naming_file(target), target.open("wb") as sink:
                try:
                    zstandard.ZstdDecompressor().copy_stream(source, sink)
                except zstandard.ZstdError as error:
                    report(f"{file}: {error}")
        return target


def _storage_files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    candidates = path.iterdir() if path.is_dir() else [path]
    files = [file for file in candidates if file.is_file() and _suffix(file) in _STORAGES]
    if not files:
        raise InputError(f"{path} is no recording: expected .mcap, .db3 or .bag")
    for file in files:
        check_downloaded(file)
    return sorted(files, key=_by_number)


def _suffix(file: Path) -> str:
    """Suffix of the storage format: .mcap for a.mcap and a.mcap.zstd."""
    return Path(file.name.removesuffix(".zstd")).suffix


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Sort key that puts drive_10 after drive_9."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]


def _missing(path: Path) -> list[str]:
    """Names of files that metadata.yaml lists and that do not exist."""
    try:
        content = read_yaml(path / "metadata.yaml")
        listed = content["rosbag2_bagfile_information"]["relative_file_paths"]
        names = [Path(name).name for name in listed]
    except Exception:  # missing, cut, not YAML, or of another structure
        return []
    return [name for name in names if not (path / name).exists()]


def _decompressed(message: Message, file: Path, report: Report) -> Iterator[Message]:
    """The message, decompressed if needed; nothing if it is damaged."""
    if not message.data.startswith(_ZSTD_MAGIC):
        yield message
        return
    try:
        data = zstandard.decompress(message.data)
    except zstandard.ZstdError as error:
        report(f"{file}: the message of {message.time} ns is damaged and left out: {error}")
    else:
        yield message._replace(data=data)
