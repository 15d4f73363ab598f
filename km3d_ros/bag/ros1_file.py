"""ROS 1 bags (`.bag`), read with rosbags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from rosbags.convert.converter import LATCH
from rosbags.interfaces import Connection, ConnectionExtRosbag1
from rosbags.rosbag2.metadata import dump_qos_v8

from km3d_ros.bag.message import Message, Report, Topic
from km3d_ros.bag.ros_messages import described
from km3d_ros.data.bag_images import open_bag
from km3d_ros.data.ros1 import Ros1Converter


class Ros1Reader:
    """The messages of a file in order of time, as ROS 2 messages; an iterable.

    Messages that cannot be converted are reported and left out. A file without its index, as a
    recorder that died leaves it, cannot be read: `rosbag reindex` repairs it.

    compression: "", the new recording is not compressed.
    """

    compression = ""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report

    def __iter__(self) -> Iterator[Message]:
        with closing(open_bag(self._path)) as reader:
            convert = Ros1Converter(reader.typestore)
            topics: dict[int, Topic] = {}
            for connection, time, data in reader.messages():
                try:
                    if connection.id not in topics:
                        topics[connection.id] = _topic(connection, convert)
                    converted = convert(connection.msgtype, data)
                except Exception as error:  # as of Ros1Converter
                    what = f"a message of {time} ns on {connection.topic}"
                    self._report(f"{self._path}: {what} cannot be converted: {error}")
                else:
                    yield Message(topics[connection.id], time, converted, time)


def _topic(connection: Connection, convert: Ros1Converter) -> Topic:
    kind = convert.type_of(connection.msgtype)
    name = connection.topic if connection.topic.startswith("/") else f"/{connection.topic}"
    ext = connection.ext
    latched = isinstance(ext, ConnectionExtRosbag1) and ext.latching
    return described(name, kind, convert.types)._replace(qos=dump_qos_v8(LATCH) if latched else "")
