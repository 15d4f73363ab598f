"""What became of the frames: counts, drops by cause, latencies (design, section 8)."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from enum import Enum
from threading import Lock

WINDOW = 600
"""Answered frames that the latency percentiles are taken over."""


class DropCause(str, Enum):
    """Why a received frame was not answered."""

    OVERTAKEN = "overtaken"
    MISSED = "missed"
    PAUSED = "paused"
    NO_CAMERA_INFO = "no_camera_info"
    BAD_IMAGE = "bad_image"
    BAD_CAMERA_INFO = "bad_camera_info"
    SIZE_MISMATCH = "size_mismatch"
    FAILED = "failed"

    @property
    def is_fault(self) -> bool:
        """Whether somebody has to mend something, as opposed to a drop by design."""
        return self not in (DropCause.OVERTAKEN, DropCause.MISSED, DropCause.PAUSED)


class DroppedFrame(Exception):  # noqa: N818 - an outcome of a frame, not an error of the program
    """Ends the work on a frame; says why."""

    def __init__(self, cause: DropCause, reason: str = "") -> None:
        super().__init__(reason or cause.value)
        self.cause = cause


@dataclass(frozen=True)
class Totals:
    """Counts since the node started; `last_image` is in seconds on a steady clock.

    Images that the middleware gave up for a newer one, or lost before one that arrived, count as
    received, and dropped as missed; `lost` is how many it reports as lost on the way, those too.

    received = answered + sum(dropped) + the frames on their way, of which there are at most
    three: one waits for its CameraInfo, one for the worker, and one is in work. `undrawn` of the
    answered ones could not be shown to those who watch.
    """

    received: int = 0
    lost: int = 0
    infos: int = 0
    answered: int = 0
    inexact: int = 0
    undrawn: int = 0
    dropped: Counter[DropCause] = field(default_factory=Counter)
    last_image: float | None = None
    last_error: str = ""

    @property
    def faults(self) -> int:
        """Frames dropped for a cause that somebody has to mend."""
        return sum(count for cause, count in self.dropped.items() if cause.is_fault)


class FrameStatistics:
    """The counts of one camera, from the executor's and the worker's thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._totals = Totals()
        self._unreported: Counter[DropCause] = Counter()
        self._latencies: deque[float] = deque(maxlen=WINDOW)

    def image_received(self, now: float, missed: int = 0) -> None:
        """Count an image that arrived `now`, and how many before it never did."""
        with self._lock:
            received = self._totals.received + 1 + missed
            self._totals = replace(self._totals, received=received, last_image=now)
        if missed:
            self.dropped(DropCause.MISSED, count=missed)

    def lost(self, count: int) -> None:
        """Count images that the middleware lost on the way."""
        with self._lock:
            self._totals = replace(self._totals, lost=self._totals.lost + count)

    def info_received(self) -> None:
        """Count a CameraInfo."""
        with self._lock:
            self._totals = replace(self._totals, infos=self._totals.infos + 1)

    def answered(self, latency: float, exact: bool) -> None:
        """Count an answered frame: seconds from its arrival, whether the stamps matched."""
        with self._lock:
            self._latencies.append(latency)
            self._totals = replace(
                self._totals,
                answered=self._totals.answered + 1,
                inexact=self._totals.inexact + (not exact),
            )

    def dropped(self, cause: DropCause, reason: str = "", count: int = 1) -> None:
        """Count frames that will not be answered."""
        with self._lock:
            self._unreported[cause] += count
            self._totals = replace(
                self._totals,
                dropped=self._totals.dropped + Counter({cause: count}),
                last_error=reason if cause.is_fault else self._totals.last_error,
            )

    def undrawn(self, reason: str) -> None:
        """Count an answered frame whose objects, markers or pictures failed."""
        with self._lock:
            undrawn = self._totals.undrawn + 1
            self._totals = replace(self._totals, undrawn=undrawn, last_error=reason)

    def take_drops(self) -> Counter[DropCause]:
        """The drops since the last call."""
        with self._lock:
            drops, self._unreported = self._unreported, Counter()
            return drops

    def totals(self) -> Totals:
        """The counts at this moment."""
        with self._lock:
            return self._totals

    def latencies(self) -> list[float]:
        """Seconds from arrival to answer of the newest answered frames."""
        with self._lock:
            return list(self._latencies)
