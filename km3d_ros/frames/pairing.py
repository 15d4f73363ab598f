"""Which CameraInfo belongs to which image: one rule for the node and for recordings.

1. The frame_id is the same, except for a leading slash. If all CameraInfo messages share
   one frame_id, an empty frame_id (theirs or the image's) matches any other.
2. Of these, the one with the same stamp; of several, the nearest one in recorded time. A zero
   stamp is unset, and equals no other.
3. Else the newest one that was recorded before the image; if there is none, the first one.
"""

from __future__ import annotations

import reprlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

REMEMBERED = 30
"""CameraInfo messages of a frame_id that `Pairer` keeps for images that arrive later."""

MAX_FRAME_IDS = 100
"""Frame ids that `Pairer` keeps CameraInfo messages of."""

MAX_SHOWN = 4
"""Frame ids that a message names."""

Stamp = tuple[int, int]
UNSET: Stamp = (0, 0)

Value = TypeVar("Value")


class _Entry(NamedTuple):
    time: float
    stamp: Stamp
    value: Any


class _OneFrameId:
    """CameraInfo messages with one frame_id, in order of time."""

    def __init__(self, entries: Iterable[_Entry] = ()) -> None:
        self.entries: list[_Entry] = []
        self._by_stamp: defaultdict[Stamp, list[_Entry]] = defaultdict(list)
        for entry in entries:
            self.add(entry)

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        if entry.stamp != UNSET:
            self._by_stamp[entry.stamp].append(entry)

    def find(self, stamp: Stamp, time: float) -> tuple[Any, bool]:
        later = bisect_right(self.entries, time, key=lambda entry: entry.time)
        before, after = self.entries[:later][-1:], self.entries[later : later + 1]
        if same_stamp := self._by_stamp.get(stamp):
            exact = min(same_stamp, key=lambda entry: abs(entry.time - time))
            # Stamps that run backwards between the two: one of them is of an earlier run.
            restarted = any(e.time > exact.time and e.stamp < stamp for e in before) or any(
                e.time < exact.time and e.stamp > stamp for e in after
            )
            if not restarted:
                return exact.value, True
        return (before or after)[0].value, False


class CameraInfos(Generic[Value]):
    """CameraInfo messages of one topic, and the rule that finds the one of an image."""

    def __init__(self) -> None:
        self._by_frame_id: dict[str, _OneFrameId] = {}

    def add(self, info: CameraInfo, time: float, value: Value) -> None:
        """Add a message that was recorded at `time`, not earlier than the ones before.

        value: what `find` returns for it.
        """
        frame_id = frame_id_of(info)
        group = self._by_frame_id.pop(frame_id, None) or _OneFrameId()
        group.add(_Entry(time, stamp_of(info), value))
        self._by_frame_id[frame_id] = group

    def find(self, image: Image | CompressedImage, time: float) -> tuple[Value | None, bool]:
        """The value of the CameraInfo of an image that was recorded at `time`, if there is one.

        Also returns whether the stamps match.
        """
        group = self._group_of(image)
        return group.find(stamp_of(image), time) if group else (None, False)

    def missing(self, image: Image | CompressedImage) -> str:
        """Why no CameraInfo belongs to an image."""
        frame_id = reprlib.repr(image.header.frame_id)
        reason = f"no CameraInfo with the image's frame_id {frame_id}"
        shown = [reprlib.repr(frame_id) for frame_id in sorted(self._by_frame_id)[:MAX_SHOWN]]
        shown += ["..."] if len(self._by_frame_id) > MAX_SHOWN else []
        return f"{reason}, only with {', '.join(shown)}" if shown else reason

    def newest_stamp(self, image: Image | CompressedImage) -> Stamp:
        """The stamp of the newest CameraInfo that may belong to an image."""
        group = self._group_of(image)
        return group.entries[-1].stamp if group else UNSET

    def limit(self, messages: int, frame_ids: int) -> None:
        """Forget the oldest messages of each frame_id, and frame ids without new messages."""
        kept = list(self._by_frame_id.items())[-frame_ids:]
        self._by_frame_id = {}
        for frame_id, group in kept:
            if len(group.entries) > messages:
                group = _OneFrameId(group.entries[-messages:])
            self._by_frame_id[frame_id] = group

    def forget_stamps(self) -> None:
        """From now on, match the messages received so far by frame_id and time only."""
        for frame_id, group in self._by_frame_id.items():
            forgotten = (entry._replace(stamp=UNSET) for entry in group.entries)
            self._by_frame_id[frame_id] = _OneFrameId(forgotten)

    def _group_of(self, image: Image | CompressedImage) -> _OneFrameId | None:
        frame_id = frame_id_of(image)
        if len(self._by_frame_id) == 1 and (not frame_id or "" in self._by_frame_id):
            return next(iter(self._by_frame_id.values()))
        return self._by_frame_id.get(frame_id)


def recorded_infos(
    recorded: Iterable[tuple[int, bytes]], deserialize: Callable[[bytes], CameraInfo]
) -> CameraInfos[bytes]:
    """All CameraInfo messages of a recorded topic, serialised to save memory.

    Messages that cannot be deserialised are left out.

    recorded: recorded times in nanoseconds and serialised messages.
    """
    infos: CameraInfos[bytes] = CameraInfos()
    for time, data in sorted(recorded, key=lambda entry: entry[0]):
        try:
            info = deserialize(data)
        except Exception:  # rclpy and rosbags raise various classes
            continue
        infos.add(info, time, data)
    return infos


@dataclass(frozen=True)
class Frame:
    """An image message and the CameraInfo message that describes it.

    received: when the image arrived, in seconds on a steady clock.
    info: None if no CameraInfo belongs to the image.
    exact: the image and the CameraInfo have the same stamp.
    """

    image: Image | CompressedImage
    received: float
    info: CameraInfo | None = None
    exact: bool = False


class Pairer:
    """Pairs messages as they arrive.

    The order of messages across topics is undefined. So an image without a CameraInfo of the same
    stamp waits, until the next image or a newer CameraInfo arrives. If the stamps of a camera do
    not match, its images do not wait until the stamps match again. Every image is returned
    exactly once.

    An image that is stamped earlier than the last one means that a recording or a simulation
    began again. Then stamps are forgotten and calibrations are kept.

    infos: the received CameraInfo messages, at most `REMEMBERED` of a frame_id.
    """

    def __init__(self) -> None:
        self.infos: CameraInfos[CameraInfo] = CameraInfos()
        self._count = 0
        self._waiting: Frame | None = None
        self._stamps_match = True
        self._last_inexact = self._last_image = UNSET

    def add_image(self, image: Image | CompressedImage, received: float) -> list[Frame]:
        """Add an image; returns the frames that are complete now, oldest first."""
        frames = self.flush()
        stamp = stamp_of(image)
        if UNSET < stamp < self._last_image and self.infos.newest_stamp(image) > stamp:
            self.forget_stamps()
        self._last_image = stamp
        frame = Frame(image, received)
        info, exact = self.infos.find(image, self._count)
        if exact:
            self._stamps_match = True
        if exact or not self._stamps_match or (stamp == UNSET and info is not None):
            frames.append(self._complete(frame))
        else:
            self._waiting = frame
        return frames

    def add_info(self, info: CameraInfo) -> list[Frame]:
        """Add a CameraInfo; returns the frame that is complete now, if any."""
        stamp = stamp_of(info)
        self._count += 1
        self.infos.add(info, self._count, info)
        self.infos.limit(REMEMBERED, MAX_FRAME_IDS)
        if stamp != UNSET and stamp == self._last_inexact:
            self._stamps_match = True
        if self._waiting is None:
            return []
        found, exact = self.infos.find(self._waiting.image, self._count)
        awaited = stamp_of(self._waiting.image)
        is_newer = found is info and (stamp > awaited or UNSET in (stamp, awaited))
        return self.flush() if exact or is_newer else []

    def flush(self, received_before: float = float("inf")) -> list[Frame]:
        """Return the waiting image with the newest CameraInfo, if it arrived before this time."""
        waiting = self._waiting
        if waiting is None or waiting.received >= received_before:
            return []
        self._waiting = None
        return [self._complete(waiting)]

    def forget_stamps(self) -> None:
        """Pair by frame_id only with what has arrived until now: the time jumped back."""
        self.infos.forget_stamps()
        self._stamps_match, self._last_inexact, self._last_image = True, UNSET, UNSET

    def _complete(self, frame: Frame) -> Frame:
        info, exact = self.infos.find(frame.image, self._count)
        stamp = stamp_of(frame.image)
        if not exact and stamp != UNSET:
            self._stamps_match = info is None
            self._last_inexact = stamp
        return replace(frame, info=info, exact=exact)


def stamp_of(message: Image | CompressedImage | CameraInfo) -> Stamp:
    """(seconds, nanoseconds) of a message's header: comparable and hashable."""
    return message.header.stamp.sec, message.header.stamp.nanosec


def frame_id_of(message: Image | CompressedImage | CameraInfo) -> str:
    """The frame_id of a message's header without the leading slash of ROS 1."""
    return message.header.frame_id.removeprefix("/")
