"""Detections of objects that move as told, for the tests of the tracker."""

from __future__ import annotations

import numpy as np

from km3d_ros.tracking.measurements import Measurements


def detections(
    *places: tuple[float, float],
    names: tuple[str, ...] | None = None,
    yaw: float = 0.0,
    score: float = 0.6,
    deviation: float = 0.3,
    origin: tuple[float, float, float] = (0.0, 0.0, 1.5),
) -> Measurements:
    """Cars (unless `names`) at x, y; every coordinate has the same standard deviation."""
    count = len(places)
    position = np.array([(x, y, 0.8) for x, y in places], float).reshape(-1, 3)
    return Measurements(
        list(names or ("Car",) * count),
        np.full(count, score),
        position,
        np.broadcast_to(deviation**2 * np.eye(3), (count, 3, 3)).copy(),
        np.full(count, float(yaw)),
        np.full(count, 0.01),
        np.tile((4.2, 1.8, 1.5), (count, 1)),
        np.array(origin),
        np.eye(3),
    )
