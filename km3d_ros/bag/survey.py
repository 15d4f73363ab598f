"""What is known of a recording before the work on it begins."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tqdm import tqdm

from km3d_ros.bag.camera_topics import IMAGE_TYPES, INFO_TYPE
from km3d_ros.bag.message import Message

SHOWN = 5


class Notes:
    """Lines on stderr: the first ones are shown, all are counted."""

    def __init__(self, what: str) -> None:
        """Args: what the lines are about, in the plural."""
        self.count = 0
        self._what = what

    def __call__(self, line: str) -> None:
        """Take a line."""
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(line, file=sys.stderr)

    def finish(self) -> None:
        """Say how many were not shown."""
        if self.count > SHOWN:
            tqdm.write(f"... and {self.count - SHOWN} more {self._what}", file=sys.stderr)


@dataclass
class Survey:
    """What a recording holds.

    messages: how many. images: how many by topic. types: of the topics, by name.
    infos: by CameraInfo topic, recorded time and serialised message.
    """

    messages: int = 0
    images: Counter[str] = field(default_factory=Counter)
    types: dict[str, str] = field(default_factory=dict)
    infos: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Survey:
        """Look through all messages."""
        survey = cls()
        for message in tqdm(messages, "Reading", unit="message", disable=None):
            name, kind = message.topic.name, message.topic.type
            survey.messages += 1
            survey.types[name] = kind
            if kind in IMAGE_TYPES:
                survey.images[name] += 1
            elif kind == INFO_TYPE:
                survey.infos.setdefault(name, []).append((message.time, message.data))
        return survey
