"""sqlite3 files (`.db3`), read and written with sqlite3.

rosbags is not used: it cannot read a file that was cut, or the log (`-wal`) of a recorder that
died, and it cannot write a topic whose type has no definition. Humble records no definitions in
sqlite3.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from km3d_ros.bag.message import METADATA_VERSION, Message, Report, Topic

_NEXT = "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id LIMIT 1"
_SCHEMA = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(
    id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
    serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
    type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(
    id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
    encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(
    id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema VALUES (4, '');
"""


class SqliteReader:
    """Iterable over the messages of a file, by number, as far as SQLite can read it.

    Damage is reported.

    compression: always "".
    """

    compression = ""

    def __init__(self, path: Path, report: Report, scratch: Path) -> None:
        """Args: scratch: folder for a copy of a file that was cut."""
        self._path = path
        self._report = report
        self._scratch = scratch

    def __iter__(self) -> Iterator[Message]:
        page, declared = _page_and_file_size(self._path)
        size = self._path.stat().st_size
        damage = f"cut at byte {size} of {declared}" if size < declared else ""
        number = 0
        try:
            with closing(self._open(page, size)) as database:
                topics = dict(_topics(database))
                # One query per row: a cursor over all rows loses the last row before the damage.
                while row := database.execute(_NEXT, (number,)).fetchone():
                    number, topic_id, time, data = row
                    topic = topics.get(topic_id)
                    if topic and isinstance(time, int) and isinstance(data, bytes):
                        yield Message(topic, time, data, time)
                    else:
                        reason = "is damaged, or of no known topic, and is left out"
                        self._report(f"{self._path}: message {number} {reason}")
        except sqlite3.Error as error:
            damage = damage or f"damaged after message {number}: {error}"
        if damage:
            self._report(f"{self._path}: {damage}; `sqlite3 FILE .recover` may find more")

    def _open(self, page: int, size: int) -> sqlite3.Connection:
        """Open the database read-only, with the log that a recorder that died may have left."""
        if Path(f"{self._path}-wal").exists():
            return _connect(self._path, "mode=ro")
        if not page or size % page == 0:
            return _connect(self._path, "mode=ro&immutable=1")
        # SQLite would read the missing part of the last page as zeros and return wrong messages.
        self._scratch.mkdir(parents=True, exist_ok=True)
        whole_pages = self._scratch / f"pages_{self._path.name}"
        shutil.copyfile(self._path, whole_pages)
        os.truncate(whole_pages, size - size % page)
        return _connect(whole_pages, "mode=ro&immutable=1")


class SqliteWriter:
    """Writes a file, in one transaction."""

    suffix = ".db3"

    def __init__(self, path: Path, compression: str) -> None:
        """Args: compression: not used, it is for MCAP."""
        self._database = sqlite3.connect(path, isolation_level=None)
        # The file moves to its place when it is complete: there is nothing to roll back.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        self._types: set[str] = set()

    def add_topic(self, topic: Topic) -> int:
        """Register a topic; returns its number."""
        if topic.definition and topic.type not in self._types:
            self._types.add(topic.type)
            definition = topic.definition_encoding, topic.definition, topic.type_hash
            self._insert("message_definitions", topic.type, *definition)
        kind = topic.type, topic.encoding
        return self._insert("topics", topic.name, *kind, topic.qos, topic.type_hash)

    def write(self, number: int, message: Message) -> None:
        """Append a message of the topic with this number."""
        self._insert("messages", number, message.time, message.data)

    def finish(self, metadata: str) -> None:
        """Write the metadata of the recording (YAML) and commit."""
        self._insert("metadata", METADATA_VERSION, metadata)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file, complete or not."""
        self._database.close()

    def _insert(self, table: str, *values: object) -> int:
        places = ", ?" * len(values)
        query = f"INSERT INTO {table} VALUES (NULL{places})"
        return self._database.execute(query, values).lastrowid


def _connect(path: Path, options: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)
    # Without this, SQLite refuses a file that is shorter than its header declares.
    database.execute("PRAGMA writable_schema = ON")
    return database


def _page_and_file_size(path: Path) -> tuple[int, int]:
    """Bytes of a page and of the whole file, from its header; 0 if the header is damaged."""
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    return page, page * int.from_bytes(header[28:32], "big")


def _topics(database: sqlite3.Connection) -> Iterator[tuple[int, Topic]]:
    """Numbers and topics. Older recordings lack some columns."""
    columns = {column[1] for column in database.execute("PRAGMA table_info(topics)")}
    optional = ("offered_qos_profiles", "type_description_hash")
    qos, type_hash = (name if name in columns else "''" for name in optional)
    definitions = {}
    if list(database.execute("PRAGMA table_info(message_definitions)")):
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        definitions = {name: definition for name, *definition in database.execute(query)}
    query = f"SELECT id, name, type, serialization_format, {qos}, {type_hash} FROM topics"
    for number, *texts in database.execute(query):
        if all(isinstance(text, str) for text in texts):
            yield number, Topic(*texts, *definitions.get(texts[1], ("", "")))
