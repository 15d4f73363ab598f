"""Depth errors of detected objects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from km3d_ros.evaluation.overlap import PerImage, match_in_image

BANDS = ((0, 15), (15, 30), (30, 50))
"""Bands of true z in metres."""


def relative_depth_errors(
    ground_truth: PerImage, results: PerImage, class_name: str = "Car"
) -> tuple[np.ndarray, np.ndarray]:
    """True z in metres and (z - true z) / true z, (N,) each, of the detected objects.

    `overlap.match_in_image` matches results and labels.
    """
    depths = [
        (truth[row].center[2], found[column].center[2])
        for truth, found in zip(ground_truth, results, strict=True)
        for row, column in match_in_image(truth, found, class_name)
    ]
    true, estimated = np.array(depths).reshape(-1, 2).T
    return true, (estimated - true) / true


def median_relative_depth_error(
    ground_truth: PerImage, results: PerImage, class_name: str = "Car"
) -> dict[str, float | None]:
    """Median of |z - true z| / true z of the detected objects, as of `by_band`."""
    true, errors = relative_depth_errors(ground_truth, results, class_name)
    return by_band(np.median, true, np.abs(errors))


def by_band(
    statistic: Callable[[np.ndarray], float], true: np.ndarray, values: np.ndarray
) -> dict[str, float | None]:
    """A statistic of the values (N,) by band of true z ("0-15", ...); None in empty bands.

    true: (N,) metres.
    """
    figures = {}
    for near, far in BANDS:
        in_band = values[(true >= near) & (true < far)]
        figures[f"{near}-{far}"] = float(statistic(in_band)) if len(in_band) else None
    return figures
