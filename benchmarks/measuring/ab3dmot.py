"""The baseline: an IoU tracker with a fixed filter, after AB3DMOT (X. Weng et al., IROS 2020).

One tracker per class: generalised 3D IoU, optimal assignment, a Kalman filter of constant
velocity with the same noise for every object, and counts of hits and misses. Noise, threshold and
counts are those of the paper's code for KITTI.
"""

from __future__ import annotations

from itertools import count

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

LEAST_GIOU = -0.2
LEAST_HITS = 3
MOST_MISSES = 2

Array = np.ndarray


class _Track:
    """State: x, y, z, yaw, length, width, height, vx, vy, vz."""

    def __init__(self, number: int, box: Array) -> None:
        self.number, self.hits, self.misses = number, 1, 0
        self.mean = np.concatenate([box, np.zeros(3)])
        self.covariance = np.diag([10.0] * 7 + [1e4] * 3)

    def predict(self) -> None:
        step = np.eye(10)
        step[[0, 1, 2], [7, 8, 9]] = 1
        self.mean = step @ self.mean
        noise = np.diag([1.0] * 7 + [0.01] * 3)
        self.covariance = step @ self.covariance @ step.T + noise
        self.misses += 1

    def update(self, box: Array) -> None:
        difference = box - self.mean[:7]
        turn = (difference[3] + np.pi) % (2 * np.pi) - np.pi
        if abs(turn) > np.pi / 2:
            turn = (turn + 2 * np.pi) % (2 * np.pi) - np.pi
        difference[3] = turn
        gain = self.covariance[:, :7] @ np.linalg.inv(self.covariance[:7, :7] + np.eye(7))
        self.mean += gain @ difference
        self.covariance -= gain @ self.covariance[:7]
        self.hits, self.misses = self.hits + 1, 0


class Baseline:
    """Tracks boxes (7,): x, y, z, yaw, length, width, height, in a level frame at rest."""

    def __init__(self, hits: int = LEAST_HITS, misses: int = MOST_MISSES) -> None:
        self._tracks: dict[str, list[_Track]] = {}
        self._numbers = count(1)
        self._hits, self._misses = hits, misses
        self._frames = 0

    def step(self, class_names: list[str], boxes: Array) -> list[tuple[int, str, Array, Array]]:
        """Number, class, box and velocity (in metres per frame) of the objects of a frame."""
        self._frames += 1
        found = []
        for name in {*class_names, *self._tracks}:
            rows = [i for i, other in enumerate(class_names) if other == name]
            for number, box, velocity in self._of_class(name, boxes[rows]):
                found.append((number, name, box, velocity))
        return found

    def _of_class(self, name: str, boxes: Array) -> list[tuple[int, Array, Array]]:
        tracks = self._tracks.setdefault(name, [])
        for track in tracks:
            track.predict()
        overlap = np.array([[giou(t.mean[:7], box) for box in boxes] for t in tracks])
        overlap = overlap.reshape(len(tracks), len(boxes))
        pairs = [p for p in zip(*linear_sum_assignment(-overlap), strict=True)]
        pairs = [(i, j) for i, j in pairs if overlap[i, j] >= LEAST_GIOU]
        for i, j in pairs:
            tracks[i].update(boxes[j])
        taken = {j for _, j in pairs}
        tracks += [
            _Track(next(self._numbers), box) for j, box in enumerate(boxes) if j not in taken
        ]
        self._tracks[name] = [t for t in tracks if t.misses < self._misses]
        sure = self._frames <= self._hits
        return [
            (t.number, t.mean[:7].copy(), t.mean[7:].copy())
            for t in self._tracks[name]
            if t.misses < self._misses and (t.hits >= self._hits or sure)
        ]


def giou(a: Array, b: Array) -> float:
    """Generalised IoU of two upright boxes (7,), as in AB3DMOT (H. Rezatofighi, CVPR 2019)."""
    first, second = _corners(a), _corners(b)
    area, _ = cv2.intersectConvexConvex(first, second)
    low = max(a[2] - a[6] / 2, b[2] - b[6] / 2)
    high = min(a[2] + a[6] / 2, b[2] + b[6] / 2)
    shared = area * max(high - low, 0.0)
    union = np.prod(a[4:7]) + np.prod(b[4:7]) - shared
    hull = cv2.contourArea(cv2.convexHull(np.concatenate([first, second])))
    low = min(a[2] - a[6] / 2, b[2] - b[6] / 2)
    high = max(a[2] + a[6] / 2, b[2] + b[6] / 2)
    volume = hull * (high - low)
    return shared / union - (volume - union) / volume


def _corners(box: Array) -> Array:
    c, s = np.cos(box[3]), np.sin(box[3])
    half = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * box[4:6] / 2
    turned = half @ np.array([[c, s], [-s, c]])
    return (turned + box[:2]).astype(np.float32)
