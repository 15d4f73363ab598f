"""`km3d eval`: average precision of result files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.errors import InputError

if TYPE_CHECKING:
    from km3d_ros.data.kitti import KittiObject
    from km3d_ros.evaluation.kitti_ap import AveragePrecision


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "eval",
        help="average precision of KITTI result files",
        description="Average precision (percent) of result files as the KITTI benchmark defines "
        "it, and the median relative depth error of the cars that were found. Every label file "
        "is a frame; frames without a result file count as misses.",
    )
    add = parser.add_argument
    add("--labels", type=Path, required=True, metavar="DIR", help="folder of label files")
    add("--results", type=Path, required=True, metavar="DIR", help="folder of result files")
    add(
        "--iou",
        type=_ratio,
        metavar="X",
        help="overlap that a match exceeds, 0 to 1, for all classes and metrics (default: Car "
        "0.7, Pedestrian and Cyclist 0.5)",
    )
    add("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    from km3d_ros.evaluation.depth_error import median_relative_depth_error
    from km3d_ros.evaluation.kitti_ap import evaluate

    ground_truth, results = _read(args.labels, args.results)
    table = evaluate(ground_truth, results, args.iou)
    depth = median_relative_depth_error(ground_truth, results)
    if args.json:
        print(json.dumps({**table, "median_relative_depth_error": {"Car": depth}}))
    else:
        print(_format(table, depth))
    return 0


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _read(labels: Path, results: Path) -> tuple[list[list[KittiObject]], list[list[KittiObject]]]:
    from km3d_ros.data.kitti import read_objects

    for folder in (labels, results):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    paths = sorted(labels.glob("*.txt"))
    if not paths:
        raise InputError(f"{labels}: no label files (*.txt)")
    if not any((results / path.name).exists() for path in paths):
        raise InputError(f"{results}: no result file is named like a label file in {labels}")
    found = []
    for path in (results / path.name for path in paths):
        found.append(read_objects(path) if path.exists() else [])
        if any(item.score is None for item in found[-1]):
            raise InputError(f"{path}: a result without a score; expected 16 columns")
    return [read_objects(path) for path in paths], found


def _format(table: AveragePrecision, depth: dict[str, float | None]) -> str:
    lines = [f"{'AP, percent':18}{'R40: easy':>12}{'moderate':>10}{'hard':>8}{'R11: easy':>14}"]
    lines[0] += f"{'moderate':>10}{'hard':>8}"
    for name, metrics in table.items():
        for metric, values in metrics.items():
            widths = zip(values["R40"] + values["R11"], (12, 10, 8, 14, 10, 8), strict=True)
            row = "".join(f"{value:{width}.2f}" for value, width in widths)
            lines.append(f"{name:11}{metric:7}{row}")
    bands = "   ".join(
        f"{band} m: " + ("none found" if error is None else f"{100 * error:.1f} %")
        for band, error in depth.items()
    )
    return "\n".join([*lines, f"Car, median depth error   {bands}"])
