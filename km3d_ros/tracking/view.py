"""What a sensor looks at, learned from where its detections were."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

ROUND = np.radians(300)
"""A sensor with detections over a wider angle looks all around."""


class View:
    """The horizontal angle and the distance in which a sensor had detections so far."""

    def __init__(self) -> None:
        self._ahead: Array | None = None
        self._low = self._high = self._far = 0.0

    def add(self, offset: Array, rotation: Array) -> None:
        """Take the detections of an image.

        offset: (M, 3) from the sensor to them, in the level frame.
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
        """Which objects (N,) with such offsets (N, 3) the sensor looks at."""
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
