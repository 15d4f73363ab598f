"""What a recording consists of, whichever storage holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

METADATA_VERSION = 8
"""Of the rosbag2 metadata that we write: the newest that Humble reads, too."""

Report = Callable[[str], None]
"""Takes one line about a damaged spot: file, place and cause."""


class Topic(NamedTuple):
    """A topic as it was recorded.

    encoding: of the messages, such as "cdr".
    qos: what its publishers offered, as YAML; "" where it is unknown.
    type_hash: of the type (RIHS01); "" where it is unknown.
    definition, definition_encoding: of the type, the latter "ros2msg" or "ros2idl"; both "" where
        the recording does not have it.
    """

    name: str
    type: str
    encoding: str = "cdr"
    qos: str = ""
    type_hash: str = ""
    definition: str = ""
    definition_encoding: str = ""


class Message(NamedTuple):
    """A serialised message. time, sent: when it was recorded and sent, in nanoseconds."""

    topic: Topic
    time: int
    data: bytes
    sent: int
    sequence: int = 0
