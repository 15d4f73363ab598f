"""Recordings of ROS topics: writing, reading, recording and playing them.

Bags are rosbag2 folders (MCAP or sqlite3 inside) or single `.mcap` files, readable by
`ros2 bag`, Foxglove and rosbags. Played over DDS in a process of its own:

    python -m km3d_ros.bag play BAG [--rate 1.0] [--subscribers 1] [--log FILE]
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import rclpy
from ament_index_python.packages import get_package_share_path
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.utilities import remove_ros_args
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from km3d_ros.errors import InputError

PACKAGES = ("vision_msgs", "km3d_ros")
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
SETTLING = 1.0
"""Seconds between a publisher's match with a subscriber and the first message: a best-effort
subscriber learns of the match a little later, and until then it drops what arrives."""


class BagMessage(NamedTuple):
    """One message of a bag; `time` is when it was recorded, in nanoseconds."""

    topic: str
    message: Any
    time: int


def type_store() -> Typestore:
    """The message types of ROS, with those of vision_msgs and km3d_ros as they are installed."""
    store = get_typestore(Stores.LATEST)
    for package in PACKAGES:
        for path in sorted((get_package_share_path(package) / "msg").glob("*.msg")):
            store.register(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    return store


def message_class(type_name: str) -> type:
    """The class of a type name such as `sensor_msgs/msg/Image`.

    Raises:
        InputError: the message package is not installed.
    """
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"message type {type_name} is not installed: {error}") from error


class BagWriter:
    """Writes a bag; a context manager.

    Args:
        path: a single MCAP file where it ends in `.mcap` (an existing one is replaced), else a
            rosbag2 folder that must not exist yet.
        storage: format of the file within the folder.

    Raises:
        InputError: the folder exists already.
    """

    def __init__(self, path: str | Path, storage: Literal["mcap", "sqlite3"] = "mcap") -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = self.path
        self._scratch: TemporaryDirectory | None = None
        if self.path.suffix == ".mcap":
            self._scratch = TemporaryDirectory(dir=self.path.parent, prefix=f".{self.path.stem}-")
            self._folder = Path(self._scratch.name) / "bag"
            storage = "mcap"
        elif self.path.exists():
            raise InputError(f"{self.path} exists already, expected a new folder")
        plugin = StoragePlugin[storage.upper()]
        self._writer = Writer(self._folder, version=9, storage_plugin=plugin)
        self._types = type_store()
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)
        if self._scratch:
            if error[0] is None:
                (self._folder / "bag.mcap").replace(self.path)
            self._scratch.cleanup()

    def write(self, topic: str, message: Any, time: int) -> None:
        """Append a ROS message; `time` in nanoseconds."""
        self.write_serialized(topic, type(message), serialize_message(message), time)

    def write_serialized(self, topic: str, message_type: type, data: bytes, time: int) -> None:
        """Append a message of this class that is serialised already."""
        if topic not in self._connections:
            package = message_type.__module__.partition(".")[0]
            self._connections[topic] = self._writer.add_connection(
                topic, f"{package}/msg/{message_type.__name__}", typestore=self._types
            )
        self._writer.write(self._connections[topic], time, data)


def read_bag(path: str | Path, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
    """Messages of a bag in order of time, of all topics or those named.

    Raises:
        InputError: there is no such bag, it is broken, or a type of it is not installed.
    """
    with closing(_open(path)) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        classes = {c.msgtype: message_class(c.msgtype) for c in chosen}
        if chosen:
            for connection, stamp, data in reader.messages(chosen):
                message = deserialize_message(data, classes[connection.msgtype])
                yield BagMessage(connection.topic, message, stamp)


class Recorder:
    """Writes the messages of some topics to a bag as they arrive.

    Attributes:
        arrivals: per topic, when each message arrived (`time.monotonic_ns`).
    """

    def __init__(self, node: Node, writer: BagWriter, topics: Mapping[str, type]) -> None:
        self.arrivals: dict[str, list[int]] = {topic: [] for topic in topics}
        self._writer = writer
        for topic, message_type in topics.items():
            callback = partial(self._store, topic, message_type)
            node.create_subscription(message_type, topic, callback, RELIABLE, raw=True)

    def _store(self, topic: str, message_type: type, data: bytes) -> None:
        self.arrivals[topic].append(time.monotonic_ns())
        self._writer.write_serialized(topic, message_type, data, time.time_ns())


def play(
    path: str | Path, rate: float = 1.0, subscribers: int = 0, log: str | Path | None = None
) -> None:
    """Publish a bag at its recorded pace; rclpy must be initialised.

    Args:
        path: the bag.
        rate: speed, 2 is twice as fast as recorded.
        subscribers: how many subscribers every topic must have before the first message.
        log: CSV file to write, one line per message: topic, recorded time and publication time
            (`time.monotonic_ns`), both in nanoseconds.

    Raises:
        InputError: there is no such bag, it is broken, or a type of it is not installed.
    """
    node = Node("bag_player")
    published: list[tuple[str, int, int]] = []
    with closing(_open(path)) as reader:
        publishers = {
            c.topic: node.create_publisher(message_class(c.msgtype), c.topic, RELIABLE)
            for c in reader.connections
        }
        while any(p.get_subscription_count() < subscribers for p in publishers.values()):
            rclpy.spin_once(node, timeout_sec=0.05)
        begin = time.monotonic_ns() + round(SETTLING * 1e9)
        for connection, stamp, data in reader.messages():
            due = begin + (stamp - reader.start_time) / rate
            time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
            published.append((connection.topic, stamp, time.monotonic_ns()))
            publishers[connection.topic].publish(bytes(data))
        for publisher in publishers.values():
            publisher.wait_for_all_acked()
    node.destroy_node()
    if log:
        with open(log, "w", newline="") as file:
            csv.writer(file).writerows(published)


def _open(path: str | Path) -> AnyReader:
    try:
        reader = AnyReader([Path(path)])
        reader.open()
    except (AnyReaderError, OSError) as error:
        raise InputError(f"{path} is not a readable bag: {error}") from error
    return reader


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m km3d_ros.bag`; `argv` begins with the program. Returns the exit code."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m km3d_ros.bag", description="Play a bag.")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser(
        "play",
        help="publish the messages of a bag at their recorded pace",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    verb.add_argument("bag", help="rosbag2 folder or .mcap file")
    verb.add_argument("--rate", type=float, default=1.0, help="speed, as a multiple of recorded")
    verb.add_argument(
        "--subscribers", type=int, default=0, help="start once every topic has so many"
    )
    verb.add_argument("--log", help="CSV of topic, recorded and publication time in ns")
    options = parser.parse_args(remove_ros_args(argv)[1:])
    rclpy.init(args=argv)
    try:
        play(options.bag, options.rate, options.subscribers, options.log)
    except InputError as error:
        print(f"km3d_ros.bag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
