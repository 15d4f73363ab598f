"""The baseline: an IoU tracker with a fixed filter, after AB3DMOT (X. Weng et al., IROS 2020).

One tracker per class: generalised 3D IoU or distance, one-to-one matching, a Kalman filter of
constant velocity with the same noise for every object, and counts of hits and misses. Noise,
thresholds and counts are those of the authors' published code for KITTI (PointRCNN detections).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

Array = np.ndarray


@dataclass(frozen=True)
class Rules:
    """How the objects of a class are tracked.

    metric: "giou" or "distance" (metres, negative). least: smallest value of a match.
    greedy: best pairs first, instead of the best sum. hits: detections before an object is
    reported. misses: frames without a detection after which it ends.
    """

    metric: str
    least: float
    greedy: bool
    hits: int
    misses: int


RULES = {
    "Car": Rules("giou", -0.2, False, 3, 2),
    "Pedestrian": Rules("giou", -0.4, True, 1, 4),
    "Cyclist": Rules("distance", -2.0, False, 3, 4),
}


class _Track:
    """State: x, y, z, yaw, length, width, height, vx, vy, vz. score: sum over its detections."""

    def __init__(self, number: int, box: Array, score: float) -> None:
        self.number, self.hits, self.misses, self.score = number, 1, 0, score
        self.mean = np.concatenate([box, np.zeros(3)])
        self.covariance = np.diag([10.0] * 7 + [1e4] * 3)

    def predict(self) -> None:
        step = np.eye(10)
        step[[0, 1, 2], [7, 8, 9]] = 1
        self.mean = step @ self.mean
        noise = np.diag([1.0] * 7 + [0.01] * 3)
        self.covariance = step @ self.covariance @ step.T + noise
        self.misses += 1

    def update(self, box: Array, score: float) -> None:
        difference = box - self.mean[:7]
        turn = (difference[3] + np.pi) % (2 * np.pi) - np.pi
        if abs(turn) > np.pi / 2:  # the track turns to the side of the detection
            self.mean[3] += np.pi
            turn = (turn + 2 * np.pi) % (2 * np.pi) - np.pi
        difference[3] = turn
        gain = self.covariance[:, :7] @ np.linalg.inv(self.covariance[:7, :7] + np.eye(7))
        self.mean += gain @ difference
        self.covariance -= gain @ self.covariance[:7]
        self.hits, self.misses, self.score = self.hits + 1, 0, score


class Baseline:
    """Tracks boxes (7,): x, y, z, yaw, length, width, height, in a level frame at rest."""

    def __init__(self) -> None:
        self._tracks: dict[str, list[_Track]] = {}
        self._numbers = count(1)
        self._frames = 0

    def step(
        self, class_names: list[str], boxes: Array, scores: Array
    ) -> list[tuple[int, str, Array, Array, float]]:
        """Number, class, box, velocity (in metres per frame) and score of the objects."""
        self._frames += 1
        found = []
        for name in sorted({*class_names, *self._tracks}):
            rows = [i for i, other in enumerate(class_names) if other == name]
            for track in self._of_class(name, boxes[rows], scores[rows]):
                mean = track.mean.copy()
                found.append((track.number, name, mean[:7], mean[7:], track.score))
        return found

    def _of_class(self, name: str, boxes: Array, scores: Array) -> list[_Track]:
        tracks, rules = self._tracks.setdefault(name, []), RULES.get(name, RULES["Car"])
        for track in tracks:
            track.predict()
        likeness = np.array([[_likeness(t.mean, box, rules) for box in boxes] for t in tracks])
        likeness = likeness.reshape(len(tracks), len(boxes))
        rows, columns = (_greedy if rules.greedy else linear_sum_assignment)(-likeness)
        pairs = [
            (i, j) for i, j in zip(rows, columns, strict=True) if likeness[i, j] >= rules.least
        ]
        for i, j in pairs:
            tracks[i].update(boxes[j], scores[j])
        taken = {j for _, j in pairs}
        tracks += [
            _Track(next(self._numbers), box, scores[j])
            for j, box in enumerate(boxes)
            if j not in taken
        ]
        self._tracks[name] = alive = [t for t in tracks if t.misses < rules.misses]
        return [t for t in alive if t.hits >= rules.hits or self._frames <= rules.hits]


def _likeness(mean: Array, box: Array, rules: Rules) -> float:
    if rules.metric == "giou":
        return giou(mean[:7], box)
    return -float(np.linalg.norm(mean[:3] - box[:3]))


def _greedy(cost: Array) -> tuple[list[int], list[int]]:
    """Rows and columns of pairs, the cheapest first; every row and column at most once."""
    rows, columns = [], []
    for index in np.argsort(cost, axis=None, kind="stable"):
        i, j = divmod(int(index), cost.shape[1])
        if i not in rows and j not in columns:
            rows.append(i)
            columns.append(j)
    return rows, columns


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
