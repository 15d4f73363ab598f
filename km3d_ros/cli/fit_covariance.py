"""`km3d fit-covariance`: fit the covariances of a detector to labelled images."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from km3d_ros.cli import _options


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "fit-covariance",
        help="fit the covariances of a detector to labelled images",
        description="Fit the noise from which the covariances of detections are computed. Every "
        "other labelled image is used for the fit. The others measure the coverage: the percent "
        "of the errors inside one and two standard deviations (68 and 95 are ideal), and the rank "
        "correlation (Spearman) of the relative standard deviation of z with its relative error. "
        "The network does not change.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="KITTI-format folder")
    _options.add_split(parser)
    _options.add_weights(parser)
    _options.add_output_weights(parser)
    _options.add_device(parser)
    add("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Fit, write and print."""
    from km3d_ros.data.kitti import KittiDataset
    from km3d_ros.evaluation.covariances import fit_and_judge
    from km3d_ros.evaluation.validation import detect_all
    from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector
    from km3d_ros.inference.formats import to_json
    from km3d_ros.network import checkpoint

    weights = args.weights or DEFAULT_WEIGHTS
    checkpoint.read_spec(weights)  # refuses an exported graph before the work
    detector = Detector.from_checkpoint(weights, args.device)
    frames = KittiDataset(args.data, args.split, detector.spec.classes)
    noise, figures = fit_and_judge(detect_all(detector, frames))
    training = detector.spec.training | {"calibration": figures}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.rewrite(weights, args.out, replace(detector.spec, noise=noise, training=training))
    table = {"noise": asdict(noise), "held_out": figures}
    print(to_json(table) if args.json else _as_text(table))
    return 0


def _as_text(table: dict[str, Any]) -> str:
    from km3d_ros.evaluation.report import covariance_lines

    noise = "  ".join(f"{name} {value:g}" for name, value in table["noise"].items())
    return "\n".join([f"Noise       {noise}", *covariance_lines(table["held_out"])])
