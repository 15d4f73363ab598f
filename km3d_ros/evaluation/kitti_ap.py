"""Average precision as the KITTI object benchmark defines it.

A result is a true positive if it overlaps a ground truth of its class by more than a limit. What
is too small, hidden or cut off for a difficulty, and neighbouring classes (Van for Car), may be
found but need not be; neither may the unlabelled DontCare regions of the image. Precision is
sampled at the scores where recall is next to 0, 1/40, ..., 1; AP is the mean of its running
maximum over those samples: R40 without recall 0, R11 every fourth one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from km3d_ros.data.kitti import DONT_CARE, KittiObject
from km3d_ros.evaluation.overlap import image_coverage, image_iou, solid_iou

MIN_IOU = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""The overlap that a true positive exceeds, by class."""

METRICS = ("2d", "aos", "bev", "3d")
"""Boxes in the image; those weighted by orientation; boxes from above; boxes in space."""

DIFFICULTIES = ("easy", "moderate", "hard")

AveragePrecision = dict[str, dict[str, dict[str, list[float]]]]
"""[class][metric]["R11" or "R40"]: percent at the three difficulties."""

Curves = dict[str, dict[str, np.ndarray]]
"""[class][metric]: (3, 41) precision (similarity for "aos"), 0 to 1, of the three difficulties at
recall 0, 1/40, ..., 1; 0 where no result reaches that recall."""

_NEIGHBOURS = {"Car": "Van", "Pedestrian": "Person_sitting"}
_MIN_HEIGHT = (40, 25, 25)
_MAX_OCCLUSION = (0, 1, 2)
_MAX_TRUNCATION = (0.15, 0.3, 0.5)
_RECALL_STEPS = 40

_COUNTS, _MAY_BE_FOUND, _OTHER = 1, 0, -1
"""Roles of an object at a class and difficulty."""


@dataclass(frozen=True)
class _Frame:
    """One image as arrays: G ground truths, D results."""

    truth: Sequence[KittiObject]
    results: Sequence[KittiObject]
    iou: dict[str, np.ndarray]
    """(G, D) by metric."""
    dont_care: np.ndarray
    """(D,) the largest part of the 2D box that lies in one DontCare region."""

    @property
    def scores(self) -> np.ndarray:
        return np.array([item.score for item in self.results], dtype=np.float64)


@dataclass(frozen=True)
class _Case:
    """What matching in one image needs, for one class, difficulty and metric."""

    candidates: np.ndarray
    """(G, D) whether the pair overlaps enough and neither is of another class."""
    iou: np.ndarray
    """(G, D)."""
    scores: np.ndarray
    """(D,)."""
    truth_counts: np.ndarray
    """(G,) whether it must be found."""
    result_counts: np.ndarray
    """(D,) whether it is wrong unless it is found to be right."""
    similarity: np.ndarray
    """(G, D) of the observation angles, 0 (opposite) to 1 (equal)."""
    stuff: np.ndarray
    """(D,) whether it lies in a DontCare region."""


def evaluate(
    ground_truth: Sequence[Sequence[KittiObject]],
    results: Sequence[Sequence[KittiObject]],
    iou: float | None = None,
) -> AveragePrecision:
    """Average precision of results with scores, image by image; arguments as of `curves`.

    Returns:
        Percent by class, metric, sampling and difficulty. "aos" is left out if any result has no
        observation angle (-10).
    """
    return average_precision(curves(ground_truth, results, iou))


def average_precision(table: Curves) -> AveragePrecision:
    """What is below the curves, in percent."""
    return {
        name: {
            metric: {
                "R11": (100 * curve[:, ::4].mean(axis=1)).tolist(),
                "R40": (100 * curve[:, 1:].mean(axis=1)).tolist(),
            }
            for metric, curve in metrics.items()
        }
        for name, metrics in table.items()
    }


def curves(
    ground_truth: Sequence[Sequence[KittiObject]],
    results: Sequence[Sequence[KittiObject]],
    iou: float | None = None,
) -> Curves:
    """Precision over recall of results with scores, image by image.

    Args:
        ground_truth: labelled objects of each image, DontCare regions among them.
        results: detected objects of each image, in the same order; empty where there are none.
        iou: the overlap that a true positive exceeds, for all classes and metrics; `MIN_IOU`
            where None.
    """
    frames = _frames(ground_truth, results)
    oriented = all(item.alpha != -10 for frame in frames for item in frame.results)
    table: Curves = {}
    for name, min_iou in MIN_IOU.items():
        table[name] = {metric: np.zeros((3, _RECALL_STEPS + 1)) for metric in METRICS}
        for metric in ("2d", "bev", "3d"):
            for difficulty in range(len(DIFFICULTIES)):
                cases = [
                    _case(frame, name, difficulty, metric, iou or min_iou) for frame in frames
                ]
                precision, similarity = _precision(cases)
                table[name][metric][difficulty] = precision
                if metric == "2d":
                    table[name]["aos"][difficulty] = similarity
        if not oriented:
            del table[name]["aos"]
    return table


def must_be_found(item: KittiObject, name: str, difficulty: str = "moderate") -> bool:
    """Whether an object counts as a miss for a class at a difficulty, where it is not found."""
    return _truth_role(item, name, DIFFICULTIES.index(difficulty)) == _COUNTS


def _frames(
    ground_truth: Sequence[Sequence[KittiObject]], results: Sequence[Sequence[KittiObject]]
) -> list[_Frame]:
    bev, volume = solid_iou(ground_truth, results)
    frames = []
    for number, (truth, found) in enumerate(zip(ground_truth, results, strict=True)):
        regions = [item for item in truth if _is(item, DONT_CARE)]
        iou = {"2d": image_iou(truth, found), "bev": bev[number], "3d": volume[number]}
        dont_care = image_coverage(regions, found).max(axis=0, initial=0)
        frames.append(_Frame(truth, found, iou, dont_care))
    return frames


def _is(item: KittiObject, name: str) -> bool:
    return item.class_name.lower() == name.lower()


def _truth_role(item: KittiObject, name: str, difficulty: int) -> int:
    if _is(item, _NEIGHBOURS.get(name, "")):
        return _MAY_BE_FOUND
    if not _is(item, name):
        return _OTHER
    too_hard = (
        item.occlusion > _MAX_OCCLUSION[difficulty]
        or item.truncation > _MAX_TRUNCATION[difficulty]
        or item.box2d[3] - item.box2d[1] < _MIN_HEIGHT[difficulty]
    )
    return _MAY_BE_FOUND if too_hard else _COUNTS


def _result_role(item: KittiObject, name: str, difficulty: int) -> int:
    # The benchmark looks at the height first: small results of other classes take part, too.
    if abs(item.box2d[3] - item.box2d[1]) < _MIN_HEIGHT[difficulty]:
        return _MAY_BE_FOUND
    return _COUNTS if _is(item, name) else _OTHER


def _case(frame: _Frame, name: str, difficulty: int, metric: str, min_iou: float) -> _Case:
    truth = np.array([_truth_role(item, name, difficulty) for item in frame.truth], dtype=int)
    found = np.array([_result_role(item, name, difficulty) for item in frame.results], dtype=int)
    iou = frame.iou[metric]
    angles = [np.array([item.alpha for item in side]) for side in (frame.truth, frame.results)]
    return _Case(
        candidates=(iou > min_iou) & (truth != _OTHER)[:, None] & (found != _OTHER),
        iou=iou,
        scores=frame.scores,
        truth_counts=truth == _COUNTS,
        result_counts=found == _COUNTS,
        similarity=(1 + np.cos(angles[0][:, None] - angles[1])) / 2,
        stuff=(frame.dont_care > min_iou) & (metric == "2d"),
    )


def _precision(cases: Sequence[_Case]) -> tuple[np.ndarray, np.ndarray]:
    """Precision and orientation similarity at the recall steps 0, 1/40, ..., 1; (41,) each."""
    reached = np.concatenate([[], *(_scores_of_true_positives(case) for case in cases)])
    wanted = sum(int(case.truth_counts.sum()) for case in cases)
    thresholds = _thresholds(reached, wanted)
    counts = sum((_count(case, thresholds) for case in cases), np.zeros((3, len(thresholds))))
    true, false, similarity = counts
    answers = np.maximum(true + false, 1)
    sampled = np.zeros((2, _RECALL_STEPS + 1))
    sampled[:, : len(thresholds)] = true / answers, similarity / answers
    precision, orientation = np.maximum.accumulate(sampled[:, ::-1], axis=1)[:, ::-1]
    return precision, orientation


def _thresholds(scores: np.ndarray, wanted: int) -> np.ndarray:
    """Scores at which the recall is closest to the recall steps, falling."""
    thresholds, recall = [], 0.0
    scores = np.sort(scores)[::-1]
    for i, score in enumerate(scores):
        left, right = (i + 1) / wanted, (i + 2) / wanted
        if i < len(scores) - 1 and right - recall < recall - left:
            continue
        thresholds.append(score)
        recall += 1 / _RECALL_STEPS
    return np.array(thresholds)


def _assign(
    candidates: np.ndarray, preference: np.ndarray, above: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let each ground truth in turn take the result that it prefers, at T thresholds at once.

    Args:
        candidates: (G, D) bool, the pairs that may match.
        preference: (G, D), the smallest one is taken; the first one among equals.
        above: (T, D) bool, the results that take part.

    Returns:
        (T, G) int, the result taken or -1, and (T, D) bool, the results that are left.
    """
    left = above.copy()
    taken = np.full((len(above), len(candidates)), -1)
    for truth in np.flatnonzero(candidates.any(axis=1)):
        choices = np.flatnonzero(candidates[truth])
        choices = choices[np.argsort(preference[truth, choices], kind="stable")]
        available = left[:, choices]
        matched = np.flatnonzero(available.any(axis=1))
        results = choices[available[matched].argmax(axis=1)]
        taken[matched, truth] = results
        left[matched, results] = False
    return taken, left


def _true_positives(case: _Case, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Threshold, ground truth and result of each true positive."""
    threshold, truth = np.nonzero((taken >= 0) & case.truth_counts)
    result = taken[threshold, truth]
    counts = case.result_counts[result]
    return threshold[counts], truth[counts], result[counts]


def _scores_of_true_positives(case: _Case) -> np.ndarray:
    """Scores (P,) where every ground truth takes the result with the highest score."""
    preference = np.broadcast_to(-case.scores, case.candidates.shape)
    everything = np.ones((1, len(case.scores)), dtype=bool)
    taken, _ = _assign(case.candidates, preference, everything)
    return case.scores[_true_positives(case, taken)[2]]


def _count(case: _Case, thresholds: np.ndarray) -> np.ndarray:
    """True positives, false positives and summed similarity (3, T) of one image."""
    # Results that count are taken by overlap; the others only where there is none, in order.
    preference = np.where(case.result_counts, -case.iou, 1)
    taken, left = _assign(case.candidates, preference, case.scores >= thresholds[:, None])
    threshold, truth, result = _true_positives(case, taken)
    true = np.bincount(threshold, minlength=len(thresholds))
    false = (left & case.result_counts & ~case.stuff).sum(axis=1)
    similarity = np.bincount(
        threshold, weights=case.similarity[truth, result], minlength=len(thresholds)
    )
    return np.stack((true, false, similarity))
