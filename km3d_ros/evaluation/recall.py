"""Recall and false positives at the default score threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from km3d_ros.evaluation.depth_error import by_band
from km3d_ros.evaluation.kitti_ap import CLASSES, must_be_found
from km3d_ros.evaluation.overlap import PerImage, image_coverage, match_in_image

RECALL, FALSE_POSITIVES = "recall", "false_positives_per_frame"
UNCLEAR = 0.1
"""Least part of a result's 2D box in one labelled box for which it is no false positive."""


def recall_figures(
    ground_truth: PerImage, results: PerImage, classes: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """Recall by class and distance, and false positives by class.

    Returns:
        `RECALL`: by class and band of true z, the share of the objects of moderate difficulty that
        `overlap.match_in_image` matches with a result; None in empty bands.
        `FALSE_POSITIVES`: by class, the number of results per image of which no labelled box, of
        any class, covers the part `UNCLEAR` of the 2D box.
    """
    return {
        RECALL: {name: _recall(ground_truth, results, name) for name in classes},
        FALSE_POSITIVES: {name: _made_up(ground_truth, results, name) for name in classes},
    }


def _recall(ground_truth: PerImage, results: PerImage, name: str) -> dict[str, float | None]:
    depths, found = [], []
    for truth, detected in zip(ground_truth, results, strict=True):
        matched = {row for row, _ in match_in_image(truth, detected, name)}
        for i, item in enumerate(truth):
            if must_be_found(item, name) and item.has_box3d:
                depths.append(item.center[2])
                found.append(i in matched)
    return by_band(np.mean, np.array(depths), np.array(found))


def _made_up(ground_truth: PerImage, results: PerImage, name: str) -> float:
    count = 0
    for truth, detected in zip(ground_truth, results, strict=True):
        of_class = [item for item in detected if item.class_name == name]
        covered = image_coverage(truth, of_class).max(axis=0, initial=0)
        count += int((covered < UNCLEAR).sum())
    return count / len(ground_truth)
