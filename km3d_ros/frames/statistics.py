"""Counts of answered and dropped frames, and latencies."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from threading import Lock

from km3d_ros.frames.drops import DropCause

WINDOW = 600
"""Number of answered frames whose latencies are kept."""


@dataclass
class Totals:
    """Counts since the node was created.

    received: images, including the missed ones: received = answered + sum(dropped) + the frames
        in progress. At most three are in progress: one waits for its CameraInfo, one waits for
        the worker, and the worker processes one.
    lost: images that the middleware reports as lost. `dropped` counts them as missed once a later
        image arrives.
    infos: CameraInfo messages.
    inexact: answered frames whose image and CameraInfo have different stamps.
    undrawn: answered frames whose objects, markers or pictures could not be published.
    last_image: when the last image arrived, in seconds on a steady clock.
    last_error: reason of the last fault.
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
        """Frames dropped for a cause that the user must fix."""
        return sum(count for cause, count in self.dropped.items() if cause.is_fault)


class FrameStatistics:
    """Counts the frames of one camera; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._totals = Totals()
        self._unreported: Counter[DropCause] = Counter()
        self._latencies: deque[float] = deque(maxlen=WINDOW)

    def image_received(self, now: float, missed: int = 0) -> None:
        """Count an image that arrived at `now`, and the `missed` images before it."""
        with self._lock:
            self._totals.received += 1 + missed
            self._totals.last_image = now
        if missed:
            self.dropped(DropCause.MISSED, count=missed)

    def lost(self, count: int) -> None:
        """Count images that the middleware reports as lost."""
        with self._lock:
            self._totals.lost += count

    def info_received(self) -> None:
        """Count a CameraInfo."""
        with self._lock:
            self._totals.infos += 1

    def answered(self, latency: float, exact: bool) -> None:
        """Count a frame answered `latency` seconds after its arrival; `exact`: stamps match."""
        with self._lock:
            self._latencies.append(latency)
            self._totals.answered += 1
            self._totals.inexact += not exact

    def dropped(self, cause: DropCause, reason: str = "", count: int = 1) -> None:
        """Count dropped frames; `last_error` becomes the reason of a fault."""
        with self._lock:
            self._unreported[cause] += count
            self._totals.dropped[cause] += count
            if cause.is_fault:
                self._totals.last_error = reason

    def undrawn(self, reason: str) -> None:
        """Count an answered frame whose objects, markers or pictures could not be published."""
        with self._lock:
            self._totals.undrawn += 1
            self._totals.last_error = reason

    def take_drops(self) -> Counter[DropCause]:
        """The drops by cause since the last call."""
        with self._lock:
            drops, self._unreported = self._unreported, Counter()
            return drops

    def totals(self) -> Totals:
        """A copy of the current counts."""
        with self._lock:
            return replace(self._totals, dropped=self._totals.dropped.copy())

    def latencies(self) -> list[float]:
        """Latencies of the newest answered frames, in seconds."""
        with self._lock:
            return list(self._latencies)
