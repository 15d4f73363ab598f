"""Recording topics into a bag."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from rclpy.node import Node

from km3d_ros.bag import BagWriter
from km3d_ros.demo.publishing import RELIABLE


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
