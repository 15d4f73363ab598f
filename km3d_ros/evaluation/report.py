"""The figures of an evaluation, as JSON values and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from km3d_ros.evaluation.depth_error import BANDS, by_band, relative_depth_errors
from km3d_ros.evaluation.kitti_ap import CLASSES, AveragePrecision
from km3d_ros.evaluation.overlap import PerImage
from km3d_ros.evaluation.recall import FALSE_POSITIVES, RECALL

MEDIAN, BIAS = "median_relative_depth_error", "relative_depth_bias"


def depth_figures(
    ground_truth: PerImage, results: PerImage, classes: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """Relative depth errors of the detected objects, by class and band of true z.

    Returns:
        `MEDIAN`: the median of |z - true z| / true z. `BIAS`: the median of (z - true z) / true z.
        A band without detected objects has None.
    """
    table: dict[str, Any] = {MEDIAN: {}, BIAS: {}}
    for name in classes:
        true, errors = relative_depth_errors(ground_truth, results, name)
        table[MEDIAN][name] = by_band(np.median, true, np.abs(errors))
        table[BIAS][name] = by_band(np.median, true, errors)
    return table


def as_text(
    precision: AveragePrecision,
    depth: dict[str, Any],
    recall: dict[str, Any],
    covariance: dict[str, Any],
) -> str:
    """The figures as tables in text.

    depth, recall, covariance: from `depth_figures`, `recall.recall_figures` and
    `covariances.covariance_figures`.
    """
    lines = [_row("AP, percent", "", "R40: easy", "moderate", "hard")]
    lines[0] += _cells("R11: easy", "moderate", "hard")
    for name, metrics in precision.items():
        for metric, values in metrics.items():
            percents = values["R40"] + values["R11"]
            cells = ["-" if value is None else f"{value:.2f}" for value in percents]
            lines.append(_row(name, metric, *cells))
    bands = [f"{near}-{far} m" for near, far in BANDS]
    lines += ["", _row("Depth error", "", f"median: {bands[0]}", *bands[1:])]
    lines[-1] += _cells(f"bias: {bands[0]}", *bands[1:])
    for name in depth[MEDIAN]:
        cells = [_percent(value, "") for value in depth[MEDIAN][name].values()]
        cells += [_percent(value, "+") for value in depth[BIAS][name].values()]
        lines.append(_row(name, "", *cells))
    lines += ["", _row("Found", "", f"recall: {bands[0]}", *bands[1:])]
    lines[-1] += f"{'false positives a frame':>26}"
    for name, shares in recall[RECALL].items():
        cells = ["-" if share is None else f"{100 * share:.0f} %" for share in shares.values()]
        lines.append(_row(name, "", *cells) + f"{recall[FALSE_POSITIVES][name]:>26.2f}")
    return "\n".join([*lines, "", *covariance_lines(covariance)] if covariance else lines)


def covariance_lines(covariance: dict[str, Any]) -> list[str]:
    """Calibration of covariances as a table in text, from `covariances.covariance_figures`."""
    head = "".join(f"{name:>14}" for name in ("x 68 / 95", "y", "z", "yaw", "Spearman z"))
    lines = [f"{'Covariance':12}{'objects':>8}{head}"]
    for name, row in covariance.items():
        cells = [f"{one:.1f} / {two:.1f}" for one, two in (row["coverage"] or {}).values()]
        cells += [] if row["spearman"] is None else [f"{row['spearman']:.2f}"]
        lines.append(f"{name:12}{row['objects']:>8}" + "".join(f"{cell:>14}" for cell in cells))
    return lines


def _row(name: str, metric: str, *cells: str) -> str:
    return f"{name:11} {metric:4}" + _cells(*cells)


def _cells(*cells: str) -> str:
    return "".join(f"{cell:>16}" if i % 3 == 0 else f"{cell:>10}" for i, cell in enumerate(cells))


def _percent(value: float | None, sign: str) -> str:
    # Adding zero makes -0.0 positive.
    return "-" if value is None else f"{round(100 * value, 1) + 0:{sign}.1f} %"
