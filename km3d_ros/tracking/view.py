"""The field of view of a sensor, learned from its detections."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

ROUND = np.radians(300)
"""A sensor with detections over a wider angle sees in all directions."""


class View:
    """The range of horizontal angles and distances of all detections of a sensor so far."""

    def __init__(self) -> None:
        self._ahead: Array | None = None
        self._low = self._high = self._far = 0.0

    def add(self, offset: Array, rotation: Array) -> None:
        """Extend the field of view to the detections of an image.

        offset: (M, 3) from the sensor to the detections, in the level frame.
        rotation: (3, 3) from the frame of the sensor into the level frame.
        """
        if not len(offset):
            return
        if self._ahead is None:
            self._ahead = rotation.T @ offset.mean(0)
        angle, distance = self._polar(offset, rotation)
        self._low = min(self._low, angle.min())
        self._high = max(self._high, angle.max())
        self._far = max(self._far, distance.max())

    def contains(self, offset: Array, rotation: Array) -> Array:
        """Whether objects (N,) at these offsets (N, 3) are in the field of view."""
        if self._ahead is None:
            return np.zeros(len(offset), bool)
        angle, distance = self._polar(offset, rotation)
        inside = (angle >= self._low) & (angle <= self._high)
        return (inside | (self._high - self._low > ROUND)) & (distance <= self._far)

    def _polar(self, offset: Array, rotation: Array) -> tuple[Array, Array]:
        """Angles (N,) from the first detections, counterclockwise, and horizontal distances."""
        ahead = rotation @ self._ahead
        cross = ahead[0] * offset[:, 1] - ahead[1] * offset[:, 0]
        angle = np.arctan2(cross, offset[:, :2] @ ahead[:2])
        return angle, np.hypot(offset[:, 0], offset[:, 1])
