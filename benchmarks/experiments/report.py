"""Tables and plots of the experiments, from the figures of their runs.

    python benchmarks/experiments/report.py

Prints the tables of docs/experiments.md and draws docs/experiments-*.png. A figure is the median
over the seeds, with the smallest and the largest in brackets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from train import RESULTS

mpl.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).parents[2] / "docs"
FRACTIONS = (2.5, 5, 10, 100)
KEYPOINT_COUNTS = ("2", "3", "4", "6", "9")
MODERATE = 1
Value = Callable[[dict], float]


def main() -> None:
    """Print and draw everything whose runs exist."""
    labels()
    keypoints()
    ablations()
    grm()
    adaptation()
    streets()
    few_labels()


def records(name: str) -> list[dict]:
    """The figures of all seeds of a configuration."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-[0-9].json"))]


def spread(name: str, value: Value) -> np.ndarray:
    """Smallest, median and largest over the seeds, (3,); not a number where there is none."""
    values = [value(record) for record in records(name)]
    return np.percentile(values, (0, 50, 100)) if values else np.full(3, np.nan)


def cell(name: str, value: Value, digits: int = 1) -> str:
    """One cell of a table."""
    low, median, high = spread(name, value)
    count = len(records(name))
    if count == 0:
        return "–"
    return f"{median:.{digits}f}" + (f" ({low:.{digits}f}–{high:.{digits}f})" if count > 1 else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def ap3d(record: dict) -> float:
    """Car AP3D|R40 moderate at an overlap of 0.5."""
    return record["ap_r40"]["3d@0.5"][MODERATE]


def ap2d(record: dict) -> float:
    """Car AP2D|R40 moderate at an overlap of 0.7."""
    return record["ap_r40"]["2d"][MODERATE]


def depth_error(record: dict) -> float:
    """Median relative depth error in percent."""
    return 100 * record["depth_error"]


def labels() -> None:
    """Supervised training against consensus, by the number of labels."""
    for value, what in ((ap3d, "AP3D@0.5"), (depth_error, "depth error %")):
        table(
            (what, "supervised", "with consensus", "gap to 100 % closed"),
            [
                (
                    f"{fraction:g} % labels",
                    cell(f"labels-{fraction:g}", value),
                    cell(f"consensus-{fraction:g}", value),
                    closed(fraction, value),
                )
                for fraction in FRACTIONS
            ],
        )
    figure, axes = plt.subplots(figsize=(6, 4))
    for kind, label in (("labels", "supervised"), ("consensus", "with consensus on the rest")):
        points = [(f, *spread(f"{kind}-{f:g}", ap3d)) for f in FRACTIONS]
        present = [point for point in points if not np.isnan(point[1])]
        x, low, median, high = np.array(present).reshape(-1, 4).T
        axes.errorbar(x, median, (median - low, high - median), marker="o", capsize=3, label=label)
    axes.set(
        xscale="log", xlabel="labelled frames, % of 4,000", ylabel="Car AP3D|R40 moderate, IoU 0.5"
    )
    axes.set_xticks(FRACTIONS, [f"{f:g}" for f in FRACTIONS])
    _save(figure, "labels")


def closed(fraction: float, value: Value) -> str:
    """The part of the gap to all labels that consensus closes."""
    if fraction == 100:
        return ""
    some, helped, every = (
        spread(name, value)[1]
        for name in (f"labels-{fraction:g}", f"consensus-{fraction:g}", "labels-100")
    )
    ratio = (helped - some) / (every - some)
    return "–" if np.isnan(ratio) else f"{100 * ratio:.0f} %"


def keypoints() -> None:
    """Positions from few keypoints, trained with and without keypoint dropout."""
    columns = (("all", "3d@0.5"), ("all", "error"), ("truncated", "error"))
    rows = [
        (k, *(cell(run, _few(k, *c)) for run in ("no-dropout", "full") for c in columns))
        for k in KEYPOINT_COUNTS
    ]
    table(
        (
            "keypoints",
            *(f"{run}: {x}" for run in ("off", "on") for x in ("AP3D", "depth %", "cut off %")),
        ),
        rows,
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), sharex=True)
    for run, label in (("no-dropout", "without dropout"), ("full", "with dropout")):
        if not records(run):
            continue
        for axes, group in ((left, "all"), (right, "truncated")):
            values = [spread(run, _few(k, group, "error"))[1] for k in KEYPOINT_COUNTS]
            axes.plot([int(k) for k in KEYPOINT_COUNTS], values, marker="o", label=label)
            axes.set(xlabel="keypoints used", title=f"{group} cars")
    left.set(ylabel="median relative depth error, %")
    _save(figure, "keypoints")


def _few(count: str, group: str, what: str) -> Value:
    if what == "error":
        return lambda record: 100 * record["few_keypoints"][count][group]
    return lambda record: record["few_keypoints"][count]["3d@0.5"][MODERATE]


def ablations() -> None:
    """The full method without one of its parts."""
    runs = {
        "full method": "full",
        "without depth guidance": "plain-l1",
        "without position loss": "no-position",
        "without auxiliary heads": "no-auxiliary",
        "without mirrored views": "no-flip",
        "without keypoint dropout": "no-dropout",
    }
    few_labels = {
        "full method": "labels-2.5",
        "without auxiliary heads": "no-auxiliary-2.5",
        "without mirrored views": "no-flip-2.5",
    }
    for what, compared in (("all labels", runs), ("2.5 % of the labels", few_labels)):
        table(
            (what, "AP3D@0.5", "AP2D@0.7", "depth error %"),
            [(n, *(cell(r, v) for v in (ap3d, ap2d, depth_error))) for n, r in compared.items()],
        )
    figure, axes = plt.subplots(figsize=(7, 3.5))
    present = {n: spread(r, ap3d) for n, r in runs.items() if records(r)}
    low, median, high = np.array(list(present.values())).reshape(-1, 3).T
    axes.barh(list(present), median, xerr=(median - low, high - median), capsize=3)
    axes.invert_yaxis()
    axes.set(xlabel="Car AP3D|R40 moderate, IoU 0.5")
    _save(figure, "ablations")


def grm() -> None:
    """Depth bias of the two forms of the GRM by distance."""
    path = RESULTS / "grm.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    bands = list(next(iter(record.values())))
    table(
        ("GRM", *(f"{band} m" for band in bands)),
        [(name, *(f"{v:+.2f} %" for v in row.values())) for name, row in record.items()],
    )
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, row in record.items():
        axes.plot(bands, list(row.values()), marker="o", label=name)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(xlabel="distance, m", ylabel="median signed depth error, %")
    _save(figure, "grm")


def adaptation() -> None:
    """The weights before and after they were adapted to another camera."""
    path = RESULTS / "adapt.json"
    if not path.exists():
        return
    rows = []
    for name, record in json.loads(path.read_text()).items():
        ap, errors = record["ap_r40"]["Car"], record["median_relative_depth_error"]
        precision = [f"{ap[metric][MODERATE]:.1f}" for metric in ("2d", "3d@0.5", "3d")]
        rows.append((name, *precision, *(f"{100 * error:.1f} %" for error in errors.values())))
    bands = [f"depth {band} m" for band in errors]
    table(("weights", "AP2D@0.7", "AP3D@0.5", "AP3D@0.7", *bands), rows)


def real(metric: str, name: str = "Car") -> Value:
    """AP|R40 moderate at an overlap of 0.5 on the judged real frames."""
    return lambda record: record["real"]["ap_r40"][name][metric][MODERATE]


def real_depth(band: str) -> Value:
    """Median relative depth error of real cars in percent."""
    return lambda record: 100 * record["real"]["median_relative_depth_error"]["Car"][band]


def streets() -> None:
    """What each part of learning from 2D boxes adds."""
    runs = {
        "Town alone": "town",
        "+ photometric variation": "photometric",
        "+ 2D boxes, heatmap only": "boxes",
        "+ extents of the keypoints": "extents",
        "+ consensus": "consensus",
    }
    columns = {
        "AP2D": real("2d"),
        "AOS": real("aos"),
        "AP3D": real("3d"),
        "depth 0-15 m": real_depth("0-15"),
        "depth 15-30 m": real_depth("15-30"),
        "Pedestrian AP2D": real("2d", "Pedestrian"),
        "Town AP3D": lambda record: record["town"]["ap_r40"]["Car"]["3d"][MODERATE],
    }
    table(
        ("trained on", *columns),
        [(n, *(cell(f"streets-{r}", v) for v in columns.values())) for n, r in runs.items()],
    )


def few_labels() -> None:
    """Real frames with 3D labels on top of 2D boxes, by their number."""
    counts = {0: ("extents", "consensus")}
    counts |= {n: (f"labels-{n}", f"labels-{n}-consensus") for n in (25, 50, 110)}
    metrics = {"AP2D": real("2d"), "AOS": real("aos"), "AP3D": real("3d")}
    table(
        ("labelled frames", *(f"{m}{k}" for m in metrics for k in ("", ", with consensus"))),
        [
            (str(n), *(cell(f"streets-{run}", v) for v in metrics.values() for run in runs))
            for n, runs in counts.items()
        ],
    )
    figure, axes = plt.subplots(figsize=(6, 4))
    for i, label in enumerate(("2D boxes and labels", "and consensus")):
        points = [(n, *spread(f"streets-{runs[i]}", real("3d"))) for n, runs in counts.items()]
        present = [point for point in points if not np.isnan(point[1])]
        if present:
            x, low, median, high = np.array(present).T
            bars = (median - low, high - median)
            axes.errorbar(x, median, bars, marker="o", capsize=3, label=label)
    axes.set(xlabel="real frames with 3D labels", ylabel="real Car AP3D|R40 moderate, IoU 0.5")
    _save(figure, "few-labels")


def _save(figure: plt.Figure, name: str) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    figure.tight_layout()
    figure.savefig(DOCS / f"experiments-{name}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
