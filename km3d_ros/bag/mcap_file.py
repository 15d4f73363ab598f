"""MCAP files, read and written with `mcap`.

rosbags is not used: it cannot read a file that was cut, and it writes neither the publication
times of messages nor the hashes of types, which `km3d bag` copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcap.records import Channel, ChunkIndex, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from km3d_ros.bag.message import Message, Report, Topic
from km3d_ros.version import __version__


class McapReader:
    """Iterable over the messages of a file, in the order of the file.

    Reading ends at the byte where the file is cut or damaged; that byte is reported.

    compression: of the chunks, once the file has been read to its end: "lz4", "zstd" or "".
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.compression = ""
        self._path = path
        self._report = report

    def __iter__(self) -> Iterator[Message]:
        position, size = 0, self._path.stat().st_size
        schemas: dict[int, Schema] = {0: Schema(0, b"", "", "")}
        topics: dict[int, Topic] = {}
        with self._path.open("rb") as file:
            reader = StreamReader(file, validate_crcs=True, record_size_limit=size)
            try:
                for record in reader.records:
                    if isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        topics[record.id] = _topic(record, schemas[record.schema_id])
                    elif isinstance(record, ChunkIndex):
                        self.compression = record.compression
                    elif isinstance(record, McapMessage):
                        topic, time = topics[record.channel_id], record.log_time
                        yield Message(
                            topic, time, record.data, record.publish_time, record.sequence
                        )
                    position = file.tell()
            except Exception:  # damaged bytes lead to errors of every kind
                self._report(
                    f"{self._path}: cut or damaged at byte {position} of {size}, nothing after it "
                    "is read; `mcap recover` may find more"
                )


def _topic(channel: Channel, schema: Schema) -> Topic:
    return Topic(
        channel.topic,
        schema.name,
        channel.message_encoding,
        channel.metadata.get("offered_qos_profiles", ""),
        channel.metadata.get("topic_type_hash", ""),
        schema.data.decode(errors="replace"),
        schema.encoding if schema.data else "",
    )


class McapWriter:
    """Writes a file."""

    suffix = ".mcap"

    def __init__(self, path: Path, compression: str) -> None:
        self._file = path.open("xb")
        kind = CompressionType[compression.upper() or "NONE"]
        self._writer = Writer(self._file, compression=kind)
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
        _, time, data, sent, sequence = message
        self._writer.add_message(number, time, data, sent, sequence)

    def finish(self, metadata: str) -> None:
        """Write the metadata of the recording (YAML) and the summary of the file."""
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._writer.finish()
        self._file.flush()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()
