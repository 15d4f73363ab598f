"""Which CameraInfo belongs to which image; pure logic, no clock, no ROS."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

REMEMBERED = 30
"""CameraInfo messages kept for images that are still on their way."""

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """An image, when it arrived, and the CameraInfo that describes it.

    received: seconds on a steady clock.
    info: None where no CameraInfo of the image's frame_id is known.
    exact: the two carry the same stamp.
    """

    image: Image | CompressedImage
    received: float
    info: CameraInfo | None = None
    exact: bool = False


class Pairer:
    """Pairs by exact stamp, otherwise with the newest CameraInfo of the same frame_id.

    Topics are not ordered among each other, so an image without its CameraInfo waits for it, at
    most until the next image or a newer CameraInfo comes. A camera whose stamps turn out not to
    match is not waited for again until they do. Every image that goes in comes out exactly once.
    """

    def __init__(self) -> None:
        self._infos: OrderedDict[Stamp, CameraInfo] = OrderedDict()
        self._waiting: Frame | None = None
        self._stamps_match = True
        self._last_inexact: Stamp | None = None

    def add_image(self, image: Image | CompressedImage, received: float) -> list[Frame]:
        """Take an image; returns the frames that are complete now, oldest first."""
        frames = self.flush()
        frame = Frame(image, received)
        if stamp_of(image) in self._infos:
            self._stamps_match = True
            frames.append(replace(frame, info=self._infos[stamp_of(image)], exact=True))
        elif self._stamps_match:
            self._waiting = frame
        else:
            frames.append(self._with_newest(frame))
        return frames

    def add_info(self, info: CameraInfo) -> list[Frame]:
        """Take a CameraInfo; returns the frame that is complete now, if any."""
        self._infos[stamp_of(info)] = info
        self._infos.move_to_end(stamp_of(info))
        if len(self._infos) > REMEMBERED:
            self._infos.popitem(last=False)
        if stamp_of(info) == self._last_inexact:
            self._stamps_match = True
        waiting = self._waiting
        if waiting is None:
            return []
        if stamp_of(info) == stamp_of(waiting.image):
            self._waiting = None
            return [replace(waiting, info=info, exact=True)]
        newer = stamp_of(info) > stamp_of(waiting.image)
        return self.flush() if newer and _same_frame(info, waiting) else []

    def flush(self, received_before: float = float("inf")) -> list[Frame]:
        """Release the waiting image, if one arrived before a time, with the newest CameraInfo."""
        waiting = self._waiting
        if waiting is None or waiting.received >= received_before:
            return []
        self._waiting = None
        return [self._with_newest(waiting)]

    def _with_newest(self, frame: Frame) -> Frame:
        infos = (info for info in reversed(self._infos.values()) if _same_frame(info, frame))
        info = next(infos, None)
        self._stamps_match = info is None
        self._last_inexact = stamp_of(frame.image)
        return replace(frame, info=info)


class RecordedInfos:
    """Pairs the images of a recording with all CameraInfo messages of a recorded topic.

    By exact stamp, otherwise with the newest CameraInfo that had been recorded when the image was,
    or with the first one for images before it. CameraInfo that cannot be deserialised is left out.
    """

    def __init__(
        self,
        recorded: Iterable[tuple[int, bytes]],
        deserialize: Callable[[bytes], CameraInfo],
        same_frame: bool = True,
    ) -> None:
        """Prepare; the messages stay serialised to save memory.

        Args:
            recorded: recorded time in nanoseconds and serialised message.
            deserialize: of a serialised CameraInfo.
            same_frame: without an equal stamp, an equal frame_id is necessary.
        """
        self._deserialize = deserialize
        self._same_frame = same_frame
        self._by_stamp: dict[Stamp, bytes] = {}
        self._by_frame: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for time, data in sorted(recorded):
            try:
                info = deserialize(data)
            except Exception:  # neither rclpy nor rosbags has one class for it
                continue
            self._by_stamp[stamp_of(info)] = data
            self._by_frame[self._frame_of(info)].append((time, data))

    def find(self, image: Image | CompressedImage, time: int) -> tuple[CameraInfo | None, bool]:
        """The CameraInfo of an image that was recorded at this time, in nanoseconds.

        Returns:
            The CameraInfo, None where there is none, and whether the stamps are the same.
        """
        data = self._by_stamp.get(stamp_of(image))
        if data is not None:
            return self._deserialize(data), True
        candidates = self._by_frame.get(self._frame_of(image))
        if not candidates:
            return None, False
        newest = max(0, bisect_right(candidates, time, key=lambda entry: entry[0]) - 1)
        return self._deserialize(candidates[newest][1]), False

    def _frame_of(self, message: Image | CompressedImage | CameraInfo) -> str:
        return message.header.frame_id if self._same_frame else ""


def stamp_of(message: Image | CompressedImage | CameraInfo) -> Stamp:
    """(seconds, nanoseconds) of a message's header: comparable and hashable."""
    return message.header.stamp.sec, message.header.stamp.nanosec


def _same_frame(info: CameraInfo, frame: Frame) -> bool:
    return info.header.frame_id == frame.image.header.frame_id
