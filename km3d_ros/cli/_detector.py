"""The detector that a verb runs: its options, and the `Detector` that they describe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from km3d_ros.cli import _options
from km3d_ros.cli._types import number, whole
from km3d_ros.inference.options import BACKENDS, PRECISIONS, SCORE_THRESHOLD, VIEWS
from km3d_ros.network.spec import MAX_DETECTIONS

if TYPE_CHECKING:
    from km3d_ros.inference.detector import Detector


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    _options.add_weights(parser)
    add(
        "--grm",
        choices=("consistent", "published"),
        default="consistent",
        help="how positions are solved; published: as the released code, in the frame of K",
    )
    add(
        "--field-of-view",
        type=number(*VIEWS, f"{VIEWS[0]:g} to {VIEWS[1]:g} degrees"),
        default=0.0,
        metavar="DEG",
        help="horizontal field of view of the network's level view, {:g} to {:g} degrees "
        "(default: that of the camera, within 40 and 100)".format(*VIEWS),
    )
    _options.add_device(parser)
    add(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what runs the network; auto: the fastest that is installed",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="number format of the network; auto: bfloat16 on a CPU with instructions for it, "
        "else float32, as in the node",
    )
    add(
        "--score-threshold",
        type=number(0, 1, "between 0 and 1"),
        default=SCORE_THRESHOLD,
        metavar="P",
        help="least score to report, 0 to 1",
    )
    add(
        "--max-detections",
        type=whole(1, MAX_DETECTIONS),
        default=MAX_DETECTIONS,
        metavar="N",
        help="most objects per image",
    )


def load(args: argparse.Namespace) -> Detector:
    """The detector that the options describe.

    Raises:
        InputError: weights that cannot be used, or a device that is not there.
    """
    from km3d_ros.inference.detector import Detector

    limits = args.score_threshold, args.max_detections
    detector = Detector.from_checkpoint(
        args.weights, args.device, *limits, args.grm, args.precision, args.backend
    )
    detector.field_of_view = args.field_of_view
    return detector
