"""Average precision as the KITTI object benchmark defines it.

A result is a true positive if it overlaps a ground truth of its class by more than a limit. Some
ground truths are ignored: a match with them is no true positive, and a miss is no error. They are
the objects that are too small, occluded or truncated for a difficulty, and those of a neighbouring
class (Van for Car). In the 2D metrics, results in DontCare regions are no false positives.
Precision is sampled at the scores where recall is closest to 0, 1/40, ..., 1. AP is the mean of
its running maximum over those samples: R40 leaves out recall 0, R11 takes every fourth sample.

The benchmark has three classes and complete labels. This module also evaluates other classes. It
ignores labelled objects without a 3D box in "bev" and "3d". It computes a missing observation
angle of a label from its rotation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from km3d_ros.data.class_names import DONT_CARE, NEIGHBOURS
from km3d_ros.data.kitti_labels import UNKNOWN_ANGLE, KittiObject
from km3d_ros.evaluation.overlap import PerImage, image_coverage, image_iou, solid_iou

CLASSES = ("Car", "Pedestrian", "Cyclist")
"""The benchmark's classes."""

_VEHICLES = ("Car", "Van", "Truck", "Bus", "Trailer", "Tram")
_VEHICLE_IOU, _OTHER_IOU = 0.7, 0.5

Overlaps = float | Mapping[str, float]
"""The overlap that a true positive must exceed: one for all classes, or by class. Classes that are
left out have `default_iou`."""

METRICS = ("2d", "aos", "bev", "3d")
"""2D boxes; 2D boxes weighted by orientation; boxes in the bird's-eye view; 3D boxes."""

DIFFICULTIES = ("easy", "moderate", "hard")

AveragePrecision = dict[str, dict[str, dict[str, list[float | None]]]]
"""[class][metric]["R11" or "R40"]: percent at the three difficulties; None if there is no object
to detect."""

Curves = dict[str, dict[str, np.ndarray]]
"""[class][metric]: (3, 41) precision (similarity for "aos"), 0 to 1, of the three difficulties at
recall 0, 1/40, ..., 1; 0 if no result reaches that recall, NaN if there is no object to detect.
"""

_MIN_HEIGHT = (40, 25, 25)
_MAX_OCCLUSION = (0, 1, 2)
_MAX_TRUNCATION = (0.15, 0.3, 0.5)
_RECALL_STEPS = 40

_COUNTS, _MAY_BE_FOUND, _OTHER = 1, 0, -1
"""Roles of an object for a class and difficulty: it counts, is ignored, or is of another class."""


@dataclass(frozen=True)
class _Frame:
    """One image as arrays: G ground truths, D results."""

    truth: Sequence[KittiObject]
    results: Sequence[KittiObject]
    iou: dict[str, np.ndarray]  # (G, D) by metric
    dont_care: np.ndarray  # (D,) largest part of the 2D box inside one DontCare region, 0 to 1

    @property
    def scores(self) -> np.ndarray:
        return np.array([item.score for item in self.results], dtype=np.float64)


@dataclass(frozen=True)
class _Case:
    """Inputs of the matching in one image, for one class, difficulty and metric."""

    candidates: np.ndarray  # (G, D) bool: enough overlap, and neither is of another class
    iou: np.ndarray  # (G, D)
    scores: np.ndarray  # (D,)
    truth_counts: np.ndarray  # (G,) bool: the object is a miss if it is not matched
    result_counts: np.ndarray  # (D,) bool: a false positive if it is not matched
    similarity: np.ndarray  # (G, D) of the observation angles, 0 (opposite) to 1 (equal)
    stuff: np.ndarray  # (D,) bool: the result lies in a DontCare region


def default_iou(name: str) -> float:
    """Overlap that a true positive of a class must exceed: 0.7 for vehicles, else 0.5."""
    return _VEHICLE_IOU if name in _VEHICLES else _OTHER_IOU


def evaluate(
    ground_truth: PerImage,
    results: PerImage,
    iou: Overlaps | None = None,
    classes: Sequence[str] = CLASSES,
) -> AveragePrecision:
    """The average precision of the `curves` with these arguments."""
    return average_precision(curves(ground_truth, results, iou, classes))


def average_precision(table: Curves) -> AveragePrecision:
    """Average precision, in percent, from precision-recall curves."""
    return {
        name: {
            metric: {"R11": _means(curve[:, ::4]), "R40": _means(curve[:, 1:])}
            for metric, curve in metrics.items()
        }
        for name, metrics in table.items()
    }


def curves(
    ground_truth: PerImage,
    results: PerImage,
    iou: Overlaps | None = None,
    classes: Sequence[str] = CLASSES,
) -> Curves:
    """Precision over recall of results with scores, image by image.

    "aos" is left out if any result has no observation angle (-10). It is also left out for a class
    if one of its labels has neither an observation angle nor a 3D box.

    ground_truth: labelled objects, including DontCare regions.
    iou: overlap that a true positive must exceed, for all metrics; None for `default_iou`.
    """
    frames = _frames(ground_truth, results)
    oriented = all(item.alpha != UNKNOWN_ANGLE for frame in frames for item in frame.results)
    table: Curves = {}
    for name in classes:
        min_iou = _limit(iou, name)
        table[name] = {metric: np.zeros((3, _RECALL_STEPS + 1)) for metric in METRICS}
        for metric in ("2d", "bev", "3d"):
            for difficulty in range(len(DIFFICULTIES)):
                cases = [_case(frame, name, difficulty, metric, min_iou) for frame in frames]
                precision, similarity = _precision(cases)
                table[name][metric][difficulty] = precision
                if metric == "2d":
                    table[name]["aos"][difficulty] = similarity
        if not oriented or _lacks_angle(ground_truth, name):
            del table[name]["aos"]
    return table


def _limit(iou: Overlaps | None, name: str) -> float:
    if isinstance(iou, Mapping):
        return iou.get(name, default_iou(name))
    return default_iou(name) if iou is None else iou


def _lacks_angle(ground_truth: PerImage, name: str) -> bool:
    objects = (item for truth in ground_truth for item in truth if item.class_name == name)
    return any(item.observation_angle is None for item in objects)


def _means(samples: np.ndarray) -> list[float | None]:
    """Percent of each row (3, N); None for rows of NaN."""
    return [None if np.isnan(mean) else 100 * float(mean) for mean in samples.mean(axis=1)]


def must_be_found(item: KittiObject, name: str, difficulty: str = "moderate") -> bool:
    """Whether an undetected object counts as a miss for a class and difficulty."""
    return _truth_role(item, name, DIFFICULTIES.index(difficulty)) == _COUNTS


def _frames(ground_truth: PerImage, results: PerImage) -> list[_Frame]:
    bev, volume = solid_iou(ground_truth, results)
    frames = []
    for number, (truth, found) in enumerate(zip(ground_truth, results, strict=True)):
        regions = [item for item in truth if item.class_name == DONT_CARE]
        iou = {"2d": image_iou(truth, found), "bev": bev[number], "3d": volume[number]}
        # An object without a 3D box uses the overlap of 2D boxes in all metrics.
        flat = [i for i, item in enumerate(truth) if not item.has_box3d]
        for metric in ("bev", "3d"):
            iou[metric][flat] = iou["2d"][flat]
        dont_care = image_coverage(regions, found).max(axis=0, initial=0)
        frames.append(_Frame(truth, found, iou, dont_care))
    return frames


def _truth_role(item: KittiObject, name: str, difficulty: int) -> int:
    if NEIGHBOURS.get(item.class_name) == name:
        return _MAY_BE_FOUND
    if item.class_name != name:
        return _OTHER
    too_hard = (
        item.occlusion > _MAX_OCCLUSION[difficulty]
        or item.truncation > _MAX_TRUNCATION[difficulty]
        or item.box2d[3] - item.box2d[1] < _MIN_HEIGHT[difficulty]
    )
    return _MAY_BE_FOUND if too_hard else _COUNTS


def _result_role(item: KittiObject, name: str, difficulty: int) -> int:
    # The benchmark checks the height first, so small results of other classes are ignored too.
    if abs(item.box2d[3] - item.box2d[1]) < _MIN_HEIGHT[difficulty]:
        return _MAY_BE_FOUND
    return _COUNTS if item.class_name == name else _OTHER


def _case(frame: _Frame, name: str, difficulty: int, metric: str, min_iou: float) -> _Case:
    truth = np.array([_truth_role(item, name, difficulty) for item in frame.truth], dtype=int)
    if metric != "2d":
        flat = np.array([not item.has_box3d for item in frame.truth], dtype=bool)
        truth[flat & (truth == _COUNTS)] = _MAY_BE_FOUND
    found = np.array([_result_role(item, name, difficulty) for item in frame.results], dtype=int)
    iou = frame.iou[metric]
    angles = [
        np.array([item.observation_angle or 0.0 for item in side])
        for side in (frame.truth, frame.results)
    ]
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
    if not wanted:
        nothing = np.full(_RECALL_STEPS + 1, np.nan)
        return nothing, nothing
    thresholds = _thresholds(reached, wanted)
    counts = sum((_count(case, thresholds) for case in cases), np.zeros((3, len(thresholds))))
    true, false, similarity = counts
    answers = np.maximum(true + false, 1)
    sampled = np.zeros((2, _RECALL_STEPS + 1))
    sampled[:, : len(thresholds)] = true / answers, similarity / answers
    precision, orientation = np.maximum.accumulate(sampled[:, ::-1], axis=1)[:, ::-1]
    return precision, orientation


def _thresholds(scores: np.ndarray, wanted: int) -> np.ndarray:
    """Scores at which the recall is closest to the recall steps, in descending order."""
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
    """Match each ground truth in turn to its preferred result, at T thresholds at once.

    candidates: (G, D) bool, the pairs that may match.
    preference: (G, D), the smallest value is preferred, and the first among equal values.
    above: (T, D) bool, the results that take part.
    Returns (T, G) int, the matched result or -1, and (T, D) bool, the results without a match.
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
    """Scores (P,) of true positives if each ground truth takes its highest-scoring result."""
    preference = np.broadcast_to(-case.scores, case.candidates.shape)
    everything = np.ones((1, len(case.scores)), dtype=bool)
    taken, _ = _assign(case.candidates, preference, everything)
    return case.scores[_true_positives(case, taken)[2]]


def _count(case: _Case, thresholds: np.ndarray) -> np.ndarray:
    """True positives, false positives and summed similarity (3, T) of one image."""
    # Counting results are preferred, by overlap. Ignored ones match only if none is left.
    preference = np.where(case.result_counts, -case.iou, 1)
    taken, left = _assign(case.candidates, preference, case.scores >= thresholds[:, None])
    threshold, truth, result = _true_positives(case, taken)
    true = np.bincount(threshold, minlength=len(thresholds))
    false = (left & case.result_counts & ~case.stuff).sum(axis=1)
    similarity = np.bincount(
        threshold, weights=case.similarity[truth, result], minlength=len(thresholds)
    )
    return np.stack((true, false, similarity))
