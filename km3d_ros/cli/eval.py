"""`km3d eval`: how good results are, or a set of weights is."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _options
from km3d_ros.cli._types import UsageError, number
from km3d_ros.data.class_names import canonical
from km3d_ros.errors import InputError, pip_install
from km3d_ros.inference.options import BACKENDS, PRECISIONS
from km3d_ros.network.spec import INFERENCE_HEADS

if TYPE_CHECKING:
    from km3d_ros.evaluation.compared import Compared

Overlaps = float | dict[str, float]

_ratio = number(math.nextafter(0, 1), math.nextafter(1, 0), "between 0 and 1")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "eval",
        help="average precision of result files or of weights",
        description="Average precision (percent) as the KITTI benchmark defines it, the median "
        "relative error and bias of the distances of objects that were found, and the part of "
        "the objects of moderate difficulty that are found at the default score. Either of "
        "result files (--labels, --results): every label file is a frame; the objects of frames "
        "without a result file are misses. Or of a detector (--data): it is run on every frame. "
        "Evaluated are the classes of the detector, or those of the benchmark and of the result "
        "files. Where covariances are at hand (--data, or detections.jsonl beside the result "
        "files), also their coverage: percent of the errors inside one and two standard "
        "deviations, and the rank correlation of sigma z / z with the relative error.",
    )
    files = parser.add_argument_group("result files")
    files.add_argument("--labels", type=Path, metavar="DIR", help="folder of label files")
    files.add_argument("--results", type=Path, metavar="DIR", help="folder of result files")
    network = parser.add_argument_group("a detector")
    add = network.add_argument
    add("--data", type=Path, metavar="DIR", help="KITTI-format folder")
    _options.add_weights(network)
    _options.add_device(network, default=None)
    add("--backend", choices=BACKENDS, help="what runs the network (default: auto)")
    add("--precision", choices=PRECISIONS, help="its number format (default: float32)")
    add(
        "--oracle",
        type=_heads,
        metavar="HEADS",
        help="let these heads say the truth, to see what their errors cost: "
        f"{', '.join(INFERENCE_HEADS)}, separated by commas (hm: peaks at the labelled objects "
        "and nowhere else; hps: keypoints; dim: sizes; rot: observation angles; prob: the 3D "
        "IoU of the boxes at twice their size)",
    )
    add = parser.add_argument
    add(
        "--iou",
        type=_overlaps,
        metavar="X",
        help="overlap that a match exceeds, 0 to 1, for all metrics: of all classes (0.5), or by "
        "class (Car=0.7,Bus=0.6) (default: 0.7 for vehicles, 0.5 for others)",
    )
    add(
        "--split",
        metavar="NAME",
        help="frames of ImageSets/NAME.txt of --data, or beside the folder of --labels, instead "
        "of all",
    )
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--plots", type=Path, metavar="DIR", help="write precision and depth errors as PNG")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    from km3d_ros.evaluation.compared import compare_files
    from km3d_ros.evaluation.covariances import covariance_figures
    from km3d_ros.evaluation.kitti_ap import average_precision, curves
    from km3d_ros.evaluation.recall import recall_figures
    from km3d_ros.evaluation.report import as_text, depth_figures
    from km3d_ros.inference.formats import to_json

    _check_sources(args)
    if args.plots:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise InputError(f"--plots needs matplotlib: {pip_install('matplotlib')}") from error
        args.plots.mkdir(parents=True, exist_ok=True)
    found = _detected(args) if args.data else compare_files(args.labels, args.results, args.split)
    named = args.iou if isinstance(args.iou, dict) else {}
    classes = tuple(dict.fromkeys((*found.classes, *named)))
    table = curves(found.truth, found.results, args.iou, classes)
    precision = average_precision(table)
    depth = depth_figures(found.truth, found.reported, classes)
    recall = recall_figures(found.truth, found.reported, classes)
    honesty = covariance_figures(found.truth, found.records) if found.records else {}
    if args.json:
        figures = {**precision, **depth, **recall, "covariance": honesty}
        print(to_json(found.counts() | figures))
    else:
        print(*found.lines(), "", as_text(precision, depth, recall, honesty), sep="\n")
    if args.plots:
        from km3d_ros.evaluation.plots import plot_depth_errors, plot_precision

        plot_precision(table, args.plots)
        depth_plot = args.plots / "depth_error.png"
        plot_depth_errors(found.truth, found.reported, list(table), depth_plot)
    return 0


def _overlaps(text: str) -> Overlaps:
    if "=" not in text:
        return _ratio(text)
    pairs = (part.partition("=") for part in text.split(","))
    return {canonical(name.strip()): _ratio(value) for name, _, value in pairs}


def _heads(text: str) -> tuple[str, ...]:
    heads = tuple(text.split(","))
    for name in heads:
        if name not in INFERENCE_HEADS:
            known = ", ".join(INFERENCE_HEADS)
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {known}")
    return heads


def _check_sources(args: argparse.Namespace) -> None:
    """Check that the options name either result files or a detector."""
    if args.data is None and not (args.labels and args.results):
        raise UsageError("expected --labels and --results, or --data")
    files, network = ("labels", "results"), ("weights", "device", "backend", "precision", "oracle")
    for name in files if args.data else network:
        if getattr(args, name) is not None:
            raise UsageError(f"--{name} does not go with {'--data' if args.data else '--labels'}")


def _detected(args: argparse.Namespace) -> Compared:
    """What the detector finds in the frames."""
    from km3d_ros.data.kitti import KittiDataset
    from km3d_ros.evaluation.compared import Compared
    from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all
    from km3d_ros.inference.detector import Detector

    detector = Detector.from_checkpoint(
        args.weights,
        args.device or "auto",
        LEAST_SCORE,
        precision=args.precision or "float32",
        # The oracle replaces tensors in the middle of the graph.
        backend="torch" if args.oracle else args.backend or "auto",
    )
    frames = KittiDataset(args.data, args.split, detector.spec.classes)
    return Compared.of_findings(detect_all(detector, frames, args.oracle or ()))
