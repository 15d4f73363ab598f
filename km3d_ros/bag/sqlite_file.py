"""sqlite3 bags (`.db3`): rows by number, and page by page where the file is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from km3d_ros.bag.records import METADATA_VERSION, Message, Report, Topic
from km3d_ros.bag.sqlite_pages import declared_size, read_rows

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
    """The messages of a file by their numbers; an iterable. What is damaged is reported."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._topics: dict[int, Topic] = {}

    def __iter__(self) -> Iterator[Message]:
        size, declared = self._path.stat().st_size, declared_size(self._path)
        with closing(_open(self._path, self._report)) as database:
            try:
                self._topics.update(_topics(database))
            except sqlite3.Error as error:
                self._report(f"{self._path}: not all of its topics can be read: {error}")
            if size < declared:
                # SQLite is not asked: it takes what is missing of the last page for zeros.
                self._report(f"{self._path}: cut at byte {size} of {declared}")
                damaged_after = 0
            else:
                damaged_after = yield from self._rows(database)
        if damaged_after is not None and self._topics:
            yield from self._pages(damaged_after)

    def _rows(self, database: sqlite3.Connection) -> Generator[Message, None, int | None]:
        """The rows as SQLite finds them; returns the last number before damage, if any."""
        number = 0
        rows = "SELECT id, topic_id, timestamp, data FROM messages ORDER BY id"
        try:
            for number, topic_id, time, data in database.execute(rows):
                yield from self._message(number, topic_id, time, data)
        except sqlite3.Error as error:
            self._report(f"{self._path}: damaged after message {number}: {error}")
            return number
        return None

    def _pages(self, damaged_after: int) -> Iterator[Message]:
        """The rows that the damage hides from SQLite."""
        for row in read_rows(self._path, damaged_after):
            if row.data is None:
                spot = f"message {row.number} (page at byte {row.offset})"
                self._report(f"{self._path}: {spot} is incomplete and left out")
            else:
                yield from self._message(row.number, row.topic_id, row.time, row.data)

    def _message(self, number: int, topic_id: int, time: int, data: bytes) -> Iterator[Message]:
        topic = self._topics.get(topic_id)
        if topic and isinstance(time, int) and time >= 0 and isinstance(data, bytes):
            yield Message(topic, time, data, time)
        else:
            what = f"message {number} is of no known topic, or damaged,"
            self._report(f"{self._path}: {what} and is left out")


class SqliteWriter:
    """Writes a file, in one transaction."""

    suffix = ".db3"

    def __init__(self, path: Path, compression: str) -> None:
        """Args: the file; compression is of MCAP alone."""
        self._database = sqlite3.connect(path, isolation_level=None)
        # The file gets its place when it is complete: until then there is nothing to roll back.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        self._types: set[str] = set()

    def add_topic(self, topic: Topic) -> int:
        """Announce a topic; returns its number."""
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
        """Write what makes the file complete; metadata: of the recording, YAML."""
        self._insert("metadata", METADATA_VERSION, metadata)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file, complete or not."""
        self._database.close()

    def _insert(self, table: str, *values: object) -> int:
        places = ", ?" * len(values)
        return self._database.execute(
            f"INSERT INTO {table} VALUES (NULL{places})", values
        ).lastrowid


def _open(path: Path, report: Report) -> sqlite3.Connection:
    """The database, to be read only, with what is in its log where a recorder left one."""
    if Path(f"{path}-wal").exists():
        try:
            database = _connect(path, "mode=ro")
            database.execute("SELECT count(*) FROM sqlite_schema")
            return database
        except sqlite3.Error as error:
            report(f"{path}-wal: cannot be read, and thus not the newest messages: {error}")
    return _connect(path, "mode=ro&immutable=1")


def _connect(path: Path, options: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)
    database.text_factory = lambda text: text.decode(errors="replace")
    return database


def _topics(database: sqlite3.Connection) -> Iterator[tuple[int, Topic]]:
    """Number and topic. Younger recordings say more about a topic than older ones."""
    # Without this SQLite opens no file that is shorter than it says.
    database.execute("PRAGMA writable_schema = ON")
    definitions = {}
    with suppress(sqlite3.Error):
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        rows = filter(_are_texts, database.execute(query))
        definitions = {name: definition for name, *definition in rows}
    columns = {column[1] for column in database.execute("PRAGMA table_info(topics)")}
    qos, type_hash = (
        name if name in columns else "''"
        for name in ("offered_qos_profiles", "type_description_hash")
    )
    query = f"SELECT id, name, type, serialization_format, {qos}, {type_hash} FROM topics"
    for number, *texts in database.execute(query):
        if _are_texts(texts):
            yield number, Topic(*texts, *definitions.get(texts[1], ("", "")))


def _are_texts(values: Sequence[object]) -> bool:
    """Whether all values are texts, none of which was cut and taken for zeros."""
    return all(isinstance(value, str) and "\0" not in value for value in values)
