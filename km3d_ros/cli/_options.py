"""Options that several verbs have."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli._types import as_usage_error, number, output_file

if TYPE_CHECKING:
    from km3d_ros.frames.mounting import Mounting


_ANGLE = number(-math.pi, math.pi, "an angle in radians, -3.14 to 3.14")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults of those options that have one and do not describe it themselves."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default, text = action.default, action.help or ""
        if default is None or default is False or default in ([], "") or "(default: " in text:
            return action.help
        return super()._get_help_string(action)


def add_weights(parser: argparse._ActionsContainer) -> None:
    """Declare --weights: the checkpoint to run or to start from; None is the embedded one."""
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="checkpoint (default: the embedded one)"
    )


def add_device(parser: argparse._ActionsContainer, default: str | None = "auto") -> None:
    """Declare --device."""
    parser.add_argument(
        "--device",
        default=default,
        metavar="NAME",
        help="auto (a GPU if there is one), cpu, cuda, cuda:1, ... (default: auto)",
    )


def add_split(parser: argparse._ActionsContainer) -> None:
    """Declare --split: some of the frames of --data."""
    parser.add_argument(
        "--split", metavar="NAME", help="frames of ImageSets/NAME.txt of --data instead of all"
    )


def add_image_source(parser: argparse._ActionsContainer, images: str) -> None:
    """Declare --camera, --topic and the mount: how to read `images`."""
    parser.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help=f"calibration of {images} that have none of their own: a KITTI calibration, or the "
        "YAML of camera_calibration",
    )
    parser.add_argument(
        "--topic", metavar="NAME", help="image topic, for a bag that has several of them"
    )
    add_mount(parser, bag=True)


def add_mount(parser: argparse._ActionsContainer, bag: bool) -> None:
    """Declare --camera-pitch, --camera-roll and, where images come from a `bag`, --base-frame."""
    for angle, positive in (("pitch", "looks down"), ("roll", "leans to the right")):
        parser.add_argument(
            f"--camera-{angle}",
            type=_ANGLE,
            default=0.0,
            metavar="RAD",
            help=f"{angle} of the camera in radians: positive, it {positive}",
        )
    if bag:
        parser.add_argument(
            "--base-frame",
            default="",
            metavar="NAME",
            help="frame of the vehicle: pitch and roll of the cameras come from the static "
            "transforms (/tf_static) of the bag",
        )


def mounting_of(args: argparse.Namespace) -> Mounting:
    """How the cameras are mounted, from the options of `add_mount`."""
    from km3d_ros.frames.mounting import Mounting

    frame = getattr(args, "base_frame", "")
    with as_usage_error():
        return Mounting(frame, args.camera_pitch, args.camera_roll, required=True)


def add_output_weights(parser: argparse._ActionsContainer) -> None:
    """Declare --out: the checkpoint to write."""
    parser.add_argument(
        "--out",
        type=output_file,
        required=True,
        metavar="FILE",
        help="weights to write, .safetensors",
    )
