"""MCAP files, read and written with `mcap`.

Not with rosbags, which cannot read a file that was cut, loses the publication time and sequence
number of messages and the hashes of types, and does not write lz4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType, Writer

from km3d_ros.bag.compression import decompress
from km3d_ros.bag.message import Message, Report, Topic
from km3d_ros.version import __version__

_COMPRESSIONS = {
    "": CompressionType.NONE,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}


class McapReader:
    """Iterable over the messages of a file, in the order of the file.

    Reading ends at the byte where the file is cut or damaged; that byte is reported. A damaged
    chunk whose length is intact is reported and skipped.

    compression: of the chunks that were read so far: "lz4", "zstd" or "".
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.compression = ""
        self._path = path
        self._report = report
        self._schemas: dict[int, Schema] = {}
        self._topics: dict[int, Topic] = {}

    def __iter__(self) -> Iterator[Message]:
        position, size = 0, self._path.stat().st_size
        with self._path.open("rb") as file:
            for record in _topics_of_summary(file):
                self._learn(record)
            try:
                reader = StreamReader(file, emit_chunks=True, record_size_limit=size)
                for record in reader.records:
                    for inner in self._unchunked(record, position):
                        yield from self._take(inner)
                    position = file.tell()
            except Exception:  # damaged bytes lead to errors of every kind
                self._report(
                    f"{self._path}: cut or damaged at byte {position} of {size}, nothing after it "
                    "is read; `mcap recover` may find more"
                )

    def _unchunked(self, record: McapRecord, position: int) -> Sequence[McapRecord]:
        """The records inside a chunk; for any other record, the record itself."""
        if not isinstance(record, Chunk):
            return [record]
        try:
            data = decompress(record.data, record.compression)
            self.compression = self.compression or record.compression
            return breakup_chunk(replace(record, compression="", data=data), validate_crc=True)
        except Exception as error:
            self._report(
                f"{self._path}: chunk at byte {position} is damaged and left out: {error}; "
                "`mcap recover` may find more"
            )
            return []

    def _take(self, record: McapRecord) -> Iterator[Message]:
        if not isinstance(record, McapMessage):
            self._learn(record)
        elif record.channel_id in self._topics:
            topic = self._topics[record.channel_id]
            times = {"time": record.log_time, "sent": record.publish_time}
            yield Message(topic, data=record.data, sequence=record.sequence, **times)
        else:
            name = f"the message of {record.log_time} ns"
            self._report(f"{self._path}: {name} belongs to no known topic and is left out")

    def _learn(self, record: McapRecord) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel):
            schema = self._schemas.get(record.schema_id, Schema(0, b"", "", ""))
            self._topics[record.id] = Topic(
                record.topic,
                schema.name,
                record.message_encoding,
                record.metadata.get("offered_qos_profiles", ""),
                record.metadata.get("topic_type_hash", ""),
                schema.data.decode(errors="replace"),
                schema.encoding if schema.data else "",
            )


def _topics_of_summary(file: BinaryIO) -> list[McapRecord]:
    """Schemas and channels from the summary section: the chunk that has them may be damaged."""
    try:
        summary = make_reader(file).get_summary()
    except Exception:  # the summary may be cut or damaged, too
        summary = None
    file.seek(0)
    return [*summary.schemas.values(), *summary.channels.values()] if summary else []


class McapWriter:
    """Writes a file."""

    suffix = ".mcap"

    def __init__(self, path: Path, compression: str) -> None:
        self._file = path.open("xb")
        self._writer = Writer(self._file, compression=_COMPRESSIONS[compression])
        self._writer.start("ros2", f"km3d_ros {__version__}")
        self._schemas: dict[tuple[str, str], int] = {}

    def add_topic(self, topic: Topic) -> int:
        """Register a topic; returns its number."""
        schema = topic.type, topic.definition
        if schema not in self._schemas:
            self._schemas[schema] = self._writer.register_schema(
                topic.type, topic.definition_encoding, topic.definition.encode()
            )
        qos = {"offered_qos_profiles": topic.qos, "topic_type_hash": topic.type_hash}
        return self._writer.register_channel(
            topic.name, topic.encoding, self._schemas[schema], qos
        )

    def write(self, number: int, message: Message) -> None:
        """Append a message of the topic with this number."""
        self._writer.add_message(
            number, message.time, message.data, message.sent, message.sequence
        )

    def finish(self, metadata: str) -> None:
        """Write the metadata of the recording (YAML) and the summary of the file."""
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._writer.finish()
        self._file.flush()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()
