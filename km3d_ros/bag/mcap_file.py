"""MCAP files: read from the front, so that it does not matter where a recording was cut."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from km3d_ros import __version__
from km3d_ros.bag.records import Message, Report, Topic
from km3d_ros.bag.unpacking import unpack

_COMPRESSIONS = {
    "": CompressionType.NONE,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}
_RECORD_HEADER = 9


def compression_of(path: Path) -> str:
    """How the first chunk is compressed: "lz4", "zstd", or "" where it is not."""
    with path.open("rb") as file:
        for _, record in _Records(file, path.stat().st_size):
            if isinstance(record, Chunk):
                return record.compression if record.compression in _COMPRESSIONS else ""
            if isinstance(record, McapMessage):
                break
    return ""


class McapReader:
    """The messages of a file in its order; an iterable.

    What is damaged is reported. A damaged file is read up to the damage, and on from the next
    chunk that its index knows, where that is left. A damaged chunk is read as far as it can be
    unpacked.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._schemas: dict[int, Schema] = {}
        self._topics: dict[int, Topic] = {}

    def __iter__(self) -> Iterator[Message]:
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            chunks = self._read_summary(file)
            start: int | None = 0
            while start is not None:
                file.seek(start)
                records = _Records(file, size, skip_magic=start > 0)
                for position, record in records:
                    if isinstance(record, Chunk):
                        yield from self._unpack(record, position)
                    else:
                        yield from self._take(record)
                if records.complete:
                    return
                yield from self._salvage(file, size, records)
                start = next((chunk for chunk in chunks if chunk > records.position), None)

    def _read_summary(self, file: BinaryIO) -> list[int]:
        """Learn the topics from the summary, if there is one. Returns where chunks begin."""
        try:
            summary = make_reader(file).get_summary()
        except Exception:  # whatever a damaged summary leads to, the file is read without it
            summary = None
        if summary is None:
            return []
        for record in (*summary.schemas.values(), *summary.channels.values()):
            self._learn(record)
        return sorted(index.chunk_start_offset for index in summary.chunk_indexes)

    def _salvage(self, file: BinaryIO, size: int, records: _Records) -> Iterator[Message]:
        """Name the spot where the records end, and read the beginning of a chunk there."""
        position = records.position
        if position == size:
            self._report(f"{self._path}: ends at byte {size}, without the end of a recording")
            return
        self._report(f"{self._path}: cut or damaged at byte {position} of {size}")
        try:
            file.seek(position)
            if file.read(_RECORD_HEADER)[0] != Opcode.CHUNK:
                return
            chunk = Chunk.read(ReadDataStream(file))
        except Exception:  # not even the head of the chunk is left
            return
        yield from self._inside(_decompress(chunk))

    def _unpack(self, chunk: Chunk, position: int) -> Iterator[Message]:
        data = _decompress(chunk)
        spot = f"{self._path}: chunk at byte {position}"
        if len(data) != chunk.uncompressed_size:
            unpacked = f"{len(data)} of {chunk.uncompressed_size} bytes can be unpacked"
            self._report(f"{spot} is damaged: {unpacked}, and what they say may be wrong")
        elif chunk.uncompressed_crc not in (0, zlib.crc32(data)):
            self._report(f"{spot} has a wrong checksum: its messages may be wrong")
        yield from self._inside(data)

    def _inside(self, data: bytes) -> Iterator[Message]:
        for _, record in _Records(BytesIO(data), len(data), skip_magic=True):
            yield from self._take(record)

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


class McapWriter:
    """Writes a file."""

    suffix = ".mcap"

    def __init__(self, path: Path, compression: str) -> None:
        self._file = path.open("xb")
        self._writer = Writer(self._file, compression=_COMPRESSIONS[compression])
        self._writer.start("ros2", f"km3d_ros {__version__}")
        self._schemas: dict[tuple[str, str], int] = {}

    def add_topic(self, topic: Topic) -> int:
        """Announce a topic; returns its number."""
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
        """Write what makes the file complete; metadata: of the recording, YAML."""
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._writer.finish()
        self._file.flush()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()


class _Records:
    """The records of a stream with their positions; an iterable, which ends where they do.

    complete: that was at the regular end of a file.
    position: else, of the record that could not be read.
    """

    def __init__(self, stream: BinaryIO, size: int, skip_magic: bool = False) -> None:
        self._stream = stream
        self._reader = StreamReader(stream, skip_magic, emit_chunks=True, record_size_limit=size)
        self.position = stream.tell()
        self.complete = False

    def __iter__(self) -> Iterator[tuple[int, McapRecord]]:
        records = self._reader.records
        while True:
            try:
                record = next(records)
            except StopIteration:
                self.complete = True
                return
            except Exception:  # damaged bytes lead to errors of every kind
                return
            yield self.position, record
            self.position = self._stream.tell()


def _decompress(chunk: Chunk) -> bytes:
    """The content of a chunk, as far as it can be unpacked."""
    if chunk.compression == "":
        return chunk.data
    if chunk.compression not in _COMPRESSIONS:
        return b""
    if chunk.compression == "lz4":
        return unpack(lz4.frame.LZ4FrameDecompressor(), chunk.data)
    return unpack(zstandard.ZstdDecompressor().decompressobj(), chunk.data)
