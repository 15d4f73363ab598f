"""Publishing recorded messages at their recorded pace."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
SETTLING = 1.0
"""Seconds between the match of a publisher with a subscriber and the first message.

A best-effort subscriber learns of the match a little later and drops what arrives before.
"""


class Published(NamedTuple):
    """Topic of a message, its recorded time, and its publication (`time.monotonic_ns`)."""

    topic: str
    stamp: int
    now: int


def publish(
    types: Mapping[str, type],
    messages: Iterable[tuple[str, Any, int]],
    rate: float = 1.0,
    subscribers: int = 0,
    unawaited: Collection[str] = (),
) -> list[Published]:
    """Publish messages at their recorded pace; rclpy must be initialised.

    types: message class of each topic.
    messages: topic, message (serialised or not) and recorded time in nanoseconds, in order.
    rate: speed; 2 is twice as fast as recorded.
    subscribers: number of subscribers that every topic must have before the first message.
    unawaited: topics that may have fewer.
    """
    node = Node("bag_player")
    publishers = {t: node.create_publisher(kind, t, RELIABLE) for t, kind in types.items()}
    awaited = [publisher for topic, publisher in publishers.items() if topic not in unawaited]
    while any(publisher.get_subscription_count() < subscribers for publisher in awaited):
        rclpy.spin_once(node, timeout_sec=0.05)
    published: list[Published] = []
    begin = time.monotonic_ns() + round(SETTLING * 1e9)
    for topic, message, stamp in messages:
        first = published[0].stamp if published else stamp
        due = begin + (stamp - first) / rate
        time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        published.append(Published(topic, stamp, time.monotonic_ns()))
        publishers[topic].publish(message)
    for publisher in publishers.values():
        publisher.wait_for_all_acked()
    node.destroy_node()
    return published
