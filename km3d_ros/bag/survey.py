"""First pass over a recording: its topics, the number of images, and all CameraInfo."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rclpy.serialization import deserialize_message
from rosbags.typesys.store import Typestore
from tqdm import tqdm

from km3d_ros.bag.camera_topics import INFO_TYPE, MESSAGE_CLASSES
from km3d_ros.bag.message import Message
from km3d_ros.frames.static_transforms import STATIC_TRANSFORMS

SHOWN = 5


class Notes:
    """Prints the first lines that it receives to stderr, and counts all lines."""

    def __init__(self, what: str) -> None:
        """Args: what: subject of the lines, in the plural."""
        self.count = 0
        self._what = what

    def __call__(self, line: str) -> None:
        """Receive a line."""
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(line, file=sys.stderr)

    def finish(self) -> None:
        """Print how many lines were not shown."""
        if self.count > SHOWN:
            tqdm.write(f"... and {self.count - SHOWN} more {self._what}", file=sys.stderr)


@dataclass
class Survey:
    """Content of a recording.

    messages: number of messages.
    images: number of images by topic.
    types: of the topics, by name.
    encodings: of the first image by topic, or the format of the first compressed image.
    infos: by CameraInfo topic, recorded time and serialised message.
    transforms: serialised messages of /tf_static.
    """

    messages: int = 0
    images: Counter[str] = field(default_factory=Counter)
    types: dict[str, str] = field(default_factory=dict)
    encodings: dict[str, str] = field(default_factory=dict)
    infos: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    transforms: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Survey:
        """Read all messages once."""
        survey = cls()
        for message in tqdm(messages, "Reading", unit="message", disable=None):
            name, kind = message.topic.name, message.topic.type
            survey.messages += 1
            survey.types[name] = kind
            if kind in MESSAGE_CLASSES:
                survey.images[name] += 1
                if name not in survey.encodings:
                    survey.encodings[name] = _encoding(message)
            elif kind == INFO_TYPE:
                survey.infos.setdefault(name, []).append((message.time, message.data))
            elif (name, kind) == STATIC_TRANSFORMS:
                survey.transforms.append(message.data)
        return survey

    def static_transforms(self, types: Typestore) -> Iterator[Any]:
        """The tf2_msgs/TFMessage on /tf_static that can be deserialised."""
        for data in self.transforms:
            with suppress(Exception):  # rosbags has no class for what cannot be deserialised
                yield types.deserialize_cdr(data, STATIC_TRANSFORMS[1])


def _encoding(message: Message) -> str:
    """Encoding or format of an image; "" where it cannot be deserialised."""
    try:
        image = deserialize_message(message.data, MESSAGE_CLASSES[message.topic.type])
    except Exception:  # rclpy has no public class for it
        return ""
    return image.format if hasattr(image, "format") else image.encoding
