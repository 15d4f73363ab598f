"""Reading and writing bags as ROS messages."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ament_index_python.packages import get_package_share_path
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.writing import RecordingWriter
from km3d_ros.data.bag_images import open_bag
from km3d_ros.errors import InputError

PACKAGES = ("vision_msgs", "km3d_ros")


class BagMessage(NamedTuple):
    """One message of a bag; time: nanoseconds at which it was recorded."""

    topic: str
    message: Any
    time: int


def type_store() -> Typestore:
    """The message types of ROS and of the installed vision_msgs and km3d_ros."""
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


def described(topic: str, type_name: str, types: Typestore) -> Topic:
    """A topic with the definition of its type."""
    definition, _ = types.generate_msgdef(type_name, ros_version=2)
    hashed = types.hash_rihs01(type_name)
    return Topic(topic, type_name, "cdr", "", hashed, definition, "ros2msg")


class BagWriter:
    """Context manager that writes a bag. If the block raises an error, nothing is left.

    path: a single MCAP file if it ends in `.mcap` (an existing one is replaced), else a rosbag2
        folder that must not exist.
    storage: format of the file in the folder.

    Raises:
        InputError: the folder exists already.
    """

    def __init__(self, path: str | Path, storage: Literal["mcap", "sqlite3"] = "mcap") -> None:
        path = Path(path)
        if path.suffix != ".mcap" and path.exists():
            raise InputError(f"{path} exists already, expected a new folder")
        self._writer = RecordingWriter(path, path.with_name(f".{path.name}.part"), storage)
        self._types = type_store()
        self._topics: dict[str, Topic] = {}

    def __enter__(self) -> BagWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def write(self, topic: str, message: Any, time: int) -> None:
        """Append a ROS message; `time` in nanoseconds."""
        self.write_serialized(topic, type(message), serialize_message(message), time)

    def write_serialized(self, topic: str, message_type: type, data: bytes, time: int) -> None:
        """Append a serialised message of this class; `time` in nanoseconds."""
        if topic not in self._topics:
            package = message_type.__module__.partition(".")[0]
            type_name = f"{package}/msg/{message_type.__name__}"
            self._topics[topic] = described(topic, type_name, self._types)
        self._writer.write(Message(self._topics[topic], time, data, time))


def read_bag(path: str | Path, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
    """Iterate over the messages of a bag in order of time.

    topics: names; None: all.

    Raises:
        InputError: there is no such bag, it is broken, or a type of it is not installed.
    """
    with closing(open_bag(Path(path))) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        classes = {c.msgtype: message_class(c.msgtype) for c in chosen}
        if chosen:
            for connection, stamp, data in reader.messages(chosen):
                message = deserialize_message(data, classes[connection.msgtype])
                yield BagMessage(connection.topic, message, stamp)
