"""Recording and playing bags over DDS."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from km3d_ros.bag.files import BagWriter, message_class, open_bag

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
SETTLING = 1.0
"""Seconds between a publisher's match with a subscriber and the first message: a best-effort
subscriber learns of the match a little later, and until then it drops what arrives."""


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
    with closing(open_bag(path)) as reader:
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
