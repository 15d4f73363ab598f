"""Topics and messages of a recording, independent of its storage format."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

METADATA_VERSION = 8
"""Version of the rosbag2 metadata that is written: the newest that Humble reads."""

Report = Callable[[str], None]
"""Receives one line about a damaged spot: file, place and cause."""


class Topic(NamedTuple):
    """A topic as it was recorded.

    encoding: of the messages, such as "cdr".
    qos: offered QoS profiles as YAML; "" if unknown.
    type_hash: RIHS01 hash of the type; "" if unknown.
    definition: of the type; "" if the recording does not contain it.
    definition_encoding: "ros2msg", "ros2idl", or "" without a definition.
    """

    name: str
    type: str
    encoding: str = "cdr"
    qos: str = ""
    type_hash: str = ""
    definition: str = ""
    definition_encoding: str = ""


class Message(NamedTuple):
    """A serialised message. time, sent: nanoseconds at which it was recorded and sent."""

    topic: Topic
    time: int
    data: bytes
    sent: int
    sequence: int = 0
