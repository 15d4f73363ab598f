"""Why a frame is dropped: the causes that the node and the bag tools count.

`frames.reading` and `bag.frame_detector` raise `DroppedFrame` for an unusable frame.
`node.pipeline` also drops frames that are overtaken or paused, and counts missed ones.
docs/vehicle.md, Diagnostics, explains each cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from km3d_ros.errors import InputError


class DropCause(str, Enum):
    """Why a received frame was not answered."""

    OVERTAKEN = "overtaken"
    MISSED = "missed"
    PAUSED = "paused"
    NO_CAMERA_INFO = "no_camera_info"
    BAD_IMAGE = "bad_image"
    BAD_CAMERA_INFO = "bad_camera_info"
    NO_LEVEL = "no_level"
    SIZE_MISMATCH = "size_mismatch"
    FAILED = "failed"

    @property
    def is_fault(self) -> bool:
        """Whether the user must fix something; the other drops happen by design."""
        return self not in (DropCause.OVERTAKEN, DropCause.MISSED, DropCause.PAUSED)


class DroppedFrame(Exception):  # noqa: N818 - an outcome of a frame, not an error of the program
    """Ends the processing of a frame; carries the cause and the reason."""

    def __init__(self, cause: DropCause, reason: str = "") -> None:
        super().__init__(reason or cause.value)
        self.cause = cause


@contextmanager
def dropping(cause: DropCause) -> Iterator[None]:
    """Turn an InputError into a DroppedFrame with this cause."""
    try:
        yield
    except InputError as error:
        raise DroppedFrame(cause, str(error)) from None
