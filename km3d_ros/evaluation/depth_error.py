"""How far off the distances of detected objects are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from km3d_ros.data.kitti import KittiObject
from km3d_ros.evaluation.overlap import image_iou

BANDS = ((0, 15), (15, 30), (30, 50))
"""Bands of the true distance in metres."""

_MIN_IMAGE_IOU = 0.5


def relative_depth_errors(
    ground_truth: Sequence[Sequence[KittiObject]],
    results: Sequence[Sequence[KittiObject]],
    class_name: str = "Car",
) -> tuple[np.ndarray, np.ndarray]:
    """True z in metres and (z - true z) / true z, (N,) each, of the 3D boxes that were found.

    By falling score, each result is paired with the object of its class that it overlaps most in
    the image, if by more than half.
    """
    depths = [
        pair
        for truth, found in zip(ground_truth, results, strict=True)
        for pair in _matched_depths(
            [item for item in truth if item.class_name == class_name and item.has_box3d],
            [item for item in found if item.class_name == class_name and item.has_box3d],
        )
    ]
    true, estimated = np.array(depths).reshape(-1, 2).T
    return true, (estimated - true) / true


def median_relative_depth_error(
    ground_truth: Sequence[Sequence[KittiObject]],
    results: Sequence[Sequence[KittiObject]],
    class_name: str = "Car",
) -> dict[str, float | None]:
    """Median of |z - true z| / true z by band of true z, over the objects that were found.

    Returns:
        By band ("0-15", ...); None where nothing was found.
    """
    true, errors = relative_depth_errors(ground_truth, results, class_name)
    return median_by_band(true, np.abs(errors))


def median_by_band(true: np.ndarray, values: np.ndarray) -> dict[str, float | None]:
    """Median of the values (N,) in each band of true z (N,); None in empty bands."""
    medians = {}
    for near, far in BANDS:
        in_band = values[(true >= near) & (true < far)]
        medians[f"{near}-{far}"] = float(np.median(in_band)) if len(in_band) else None
    return medians


def _matched_depths(
    truth: Sequence[KittiObject], found: Sequence[KittiObject]
) -> list[tuple[float, float]]:
    """Pairs of true and estimated z in one image."""
    found = sorted(found, key=lambda item: item.score, reverse=True)
    overlap = image_iou(truth, found)
    pairs = []
    for result, item in enumerate(found):
        best = int(overlap[:, result].argmax()) if len(truth) else 0
        if len(truth) and overlap[best, result] > _MIN_IMAGE_IOU:
            pairs.append((truth[best].center[2], item.center[2]))
            overlap[best] = 0
    return pairs
