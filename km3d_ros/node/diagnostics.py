"""The node's health as diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from km3d_ros.frames.drops import DropCause
from km3d_ros.frames.statistics import Totals

GRACE = 2.0
"""Seconds without a message after which a topic is reported as silent."""

SHARED_MEMORY_HINT = (
    "large images may not fit into the publisher's shared memory: start it with "
    "config/fastdds_shm.xml"
)

# STALE is for aggregators: a status that no longer arrives.
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Health:
    """A level of DiagnosticStatus and its message."""

    level: bytes
    message: str


class HealthMonitor:
    """Derives the health of a camera from its counts. Times are in seconds on a steady clock."""

    def __init__(self, image_topic: str, info_topic: str, now: float, totals: Totals) -> None:
        """Start at an activation, with the counts of that moment."""
        self._image_topic = image_topic
        self._info_topic = info_topic
        self._start, self._start_totals = now, totals
        self._last, self._last_totals = now, totals

    def check(
        self,
        now: float,
        totals: Totals,
        announced: bool = False,
        concerns: Sequence[str] = (),
        wrong_type: str = "",
    ) -> tuple[Health, dict[str, float]]:
        """The health since the last check, and the rates in Hz.

        announced: the image topic has a publisher.
        concerns: other problems; frames may be answered nevertheless.
        wrong_type: describes publishers with another message type; empty if there are none.
        """
        seconds = max(now - self._last, 1e-3)
        before = self._last_totals
        health = self._silence(now, totals, announced) or self._compare(totals, before)
        if wrong_type:
            health = Health(ERROR, wrong_type)
        if concerns and health.level == OK:
            health = Health(WARN, "; ".join(concerns))
        elif concerns:
            health = Health(health.level, "; ".join([*concerns, health.message]))
        rates = {
            "input_hz": round((totals.received - before.received) / seconds, 1),
            "output_hz": round((totals.answered - before.answered) / seconds, 1),
        }
        self._last, self._last_totals = now, totals
        return health, rates

    def _compare(self, totals: Totals, before: Totals) -> Health:
        faults = totals.faults - before.faults
        answered = totals.answered - before.answered
        if faults:
            level = WARN if answered else ERROR
            return Health(level, f"{faults} frames dropped, the last one: {totals.last_error}")
        image_topic, info_topic = self._image_topic, self._info_topic
        if lost := totals.lost - before.lost:
            message = f"{lost} images of {image_topic} were lost on the way; {SHARED_MEMORY_HINT}"
        elif inexact := totals.inexact - before.inexact:
            message = (
                f"stamps of {image_topic} and {info_topic} do not match: {inexact} frames used "
                "the newest CameraInfo of their frame_id"
            )
        elif undrawn := totals.undrawn - before.undrawn:
            message = f"{undrawn} frames could not be shown, the last one: {totals.last_error}"
        elif (received := totals.received - before.received) > 1 and not answered:
            message = f"{received} frames arrived since the last report, none answered"
        else:
            return Health(OK, f"{answered} frames answered since the last report")
        return Health(WARN, message)

    def _silence(self, now: float, totals: Totals, announced: bool) -> Health | None:
        """The health if a topic is silent, otherwise None."""
        watched = now - self._start
        if totals.received == self._start_totals.received:
            lost = totals.lost - self._start_totals.lost
            cause = ", but it has a publisher" if announced else f", {lost} lost on the way"
            hint = f"{cause}; {SHARED_MEMORY_HINT}" if lost or announced else ""
            return _never("image", self._image_topic, watched, hint)
        silent = now - totals.last_image
        if silent >= GRACE:
            return Health(ERROR, f"images stopped: none on {self._image_topic} for {silent:.0f} s")
        if totals.infos == self._start_totals.infos:
            return _never("CameraInfo", self._info_topic, watched)
        return None


def _never(what: str, topic: str, watched: float, hint: str = "") -> Health:
    if watched < GRACE:
        return Health(OK, f"waiting for the first {what} on {topic}")
    return Health(WARN, f"{what} never arriving: none on {topic} for {watched:.0f} s{hint}")


def stream_values(totals: Totals, latencies: list[float]) -> dict[str, object]:
    """Counts, drops by cause and latency percentiles in milliseconds."""
    values: dict[str, object] = {"received": totals.received, "answered": totals.answered}
    values |= {f"dropped.{cause.value}": totals.dropped[cause] for cause in DropCause}
    if latencies:
        for percent in (50, 95, 99):
            values[f"latency_ms.p{percent}"] = round(1e3 * np.percentile(latencies, percent), 1)
    values["lost"] = totals.lost
    values["undrawn"] = totals.undrawn
    values["last_error"] = totals.last_error
    return values
