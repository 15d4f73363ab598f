"""Small recordings of random messages."""

import numpy as np

from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.reading import Recording
from km3d_ros.bag.writing import RecordingWriter

START = 1_700_000_000_000_000_000
TOPICS = (
    Topic("/a", "pkg/msg/A", "cdr", "", "RIHS01_a", "string text", "ros2msg"),
    Topic("/b", "pkg/msg/B"),
)


def random_messages(count, sizes=(0, 40, 3000, 40000)):
    """Messages of two topics in turn. No byte is zero: zeros would be what a file lacks."""
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
