"""Plots of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from km3d_ros.evaluation.depth_error import BANDS, relative_depth_errors
from km3d_ros.evaluation.kitti_ap import DIFFICULTIES, Curves, average_precision
from km3d_ros.evaluation.overlap import PerImage

TITLES = {"2d": "2D", "aos": "Orientation (AOS)", "bev": "Bird's-eye view", "3d": "3D"}
BIN = 5.0
"""Width of a distance bin in metres."""
LEAST_IN_BIN = 5
"""Least number of objects in a bin with a median."""


def plot_precision(table: Curves, folder: Path) -> list[Path]:
    """Plot precision over recall of each class to `precision_<class>.png` in the folder."""
    percent = average_precision(table)
    paths = []
    for name, metrics in table.items():
        figure = Figure(figsize=(4 * len(metrics), 4), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True)
        for axes, (metric, precision) in zip(panels, metrics.items(), strict=True):
            recall = np.linspace(0, 1, precision.shape[1])
            means = percent[name][metric]["R40"]
            for curve, label, ap in zip(precision, DIFFICULTIES, means, strict=True):
                known = "-" if ap is None else f"{ap:.1f}"
                axes.plot(recall, curve, label=f"{label}: {known}")
            axes.set(title=TITLES[metric], xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
            axes.grid(alpha=0.3)
            axes.legend(title="AP|R40, %")
        figure.axes[0].set_ylabel("precision")
        figure.suptitle(name)
        paths.append(folder / f"precision_{name.lower()}.png")
        figure.savefig(paths[-1])
    return paths


def plot_depth_errors(
    ground_truth: PerImage, results: PerImage, classes: Sequence[str], path: Path
) -> None:
    """Plot the relative depth error of each detected object over true z, one panel per class."""
    figure = Figure(figsize=(5 * len(classes), 4), layout="constrained")
    panels = figure.subplots(1, len(classes), squeeze=False)[0]
    for axes, name in zip(panels, classes, strict=True):
        true, errors = relative_depth_errors(ground_truth, results, name)
        _plot_errors(axes, true, 100 * errors)
        axes.set(title=f"{name} ({len(true)} found)", xlabel="true distance, m")
    panels[0].set_ylabel("error of the distance, %")
    figure.savefig(path)


def _plot_errors(axes: Axes, true: np.ndarray, percent: np.ndarray) -> None:
    """Plot errors (N,) as dots, with the median and quartiles of each bin of true z (N,)."""
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.set_xlim(0, BANDS[-1][1])
    seen = true < BANDS[-1][1]
    true, percent = true[seen], percent[seen]
    axes.plot(true, percent, ".", color="tab:gray", alpha=0.4, markersize=3)
    middles, quartiles = [], []
    for near in np.arange(0, BANDS[-1][1], BIN):
        inside = percent[(true >= near) & (true < near + BIN)]
        if len(inside) >= LEAST_IN_BIN:
            middles.append(near + BIN / 2)
            quartiles.append(np.quantile(inside, (0.25, 0.5, 0.75)))
    if middles:
        low, median, high = np.transpose(quartiles)
        axes.fill_between(middles, low, high, alpha=0.3, label="middle half")
        axes.plot(middles, median, "o-", label="median")
        axes.legend()
    if len(percent):
        # With outliers inside the limits, the other errors would be unreadable.
        limit = 1.5 * max(np.quantile(np.abs(percent), 0.95), 1)
        axes.set_ylim(-limit, limit)
