"""Small recordings of random messages, and what an independent reader finds in parts of them."""

import sqlite3
import struct
from contextlib import closing

import numpy as np

from km3d_ros.bag.recording import Recording
from km3d_ros.bag.records import Message, Topic
from km3d_ros.bag.writing import RecordingWriter

START = 1_700_000_000_000_000_000
TOPICS = (
    Topic("/a", "pkg/msg/A", "cdr", "", "RIHS01_a", "string text", "ros2msg"),
    Topic("/b", "pkg/msg/B"),
)
MCAP_MAGIC = 8
CHUNK, MESSAGE = 6, 5


def random_messages(count, sizes=(0, 40, 3000, 40000)):
    """Messages of two topics in turn. No byte is zero: pages of sqlite3 can be told from data."""
    random = np.random.default_rng(0)
    return [
        Message(
            TOPICS[i % 2],
            START + 1000 * i,
            random.integers(1, 256, sizes[i % len(sizes)], np.uint8).tobytes(),
            START + 1000 * i - 7,
            i,
        )
        for i in range(count)
    ]


def write(path, messages, storage="mcap", compression=""):
    """Write a recording; returns its storage file."""
    with RecordingWriter(path, path.with_name("scratch"), storage, compression) as writer:
        for message in messages:
            writer.write(message)
    return path if path.is_file() else next(f for f in path.iterdir() if f.suffix != ".yaml")


def read(path):
    """The messages of a recording, and what was reported of its damage."""
    spots = []
    recording = Recording(path, path.with_name("unpacked"))
    return list(recording.messages(spots.append)), spots


def ends_in_mcap(data):
    """Offsets in an MCAP file without compression where its messages are complete."""
    return list(_ends(data, MCAP_MAGIC, len(data) - MCAP_MAGIC))


def _ends(data, position, end):
    while position < end:
        kind, size = struct.unpack_from("<BQ", data, position)
        position += 9
        if kind == MESSAGE:
            yield position + size
        elif kind == CHUNK:
            (name,) = struct.unpack_from("<I", data, position + 28)
            yield from _ends(data, position + 40 + name, position + size)
        position += size


def ends_in_sqlite(file, messages):
    """Offsets in a sqlite3 file where its messages are complete: where their bytes are found."""
    data = file.read_bytes()
    with closing(sqlite3.connect(file)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        query = "SELECT max(pageno) FROM dbstat WHERE name IN ('sqlite_schema', 'topics')"
        (topics,) = database.execute(query).fetchone()
    ends = [_end_of(data, message.data, size - 4) for message in messages]
    return [max(end, topics * size) for end in ends]


def _end_of(file, data, room):
    """Where the last piece of some data is: one on a leaf, others of `room` bytes on pages."""
    start = file.index(data[:30])
    leaf = next(
        i for i in range(len(data) + 1) if data[i : i + 1] != file[start + i : start + i + 1]
    )
    pieces = [data[i : i + room] for i in range(leaf, len(data), room)]
    return max([start + leaf, *(file.index(piece) + len(piece) for piece in pieces)])
