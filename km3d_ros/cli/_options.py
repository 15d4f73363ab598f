"""Options that several verbs have."""

from __future__ import annotations

import argparse
from pathlib import Path

from km3d_ros.cli._types import output_file


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults of those options that have one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, []) else super()._get_help_string(action)


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
        help="auto (a GPU if there is one), cpu, cuda, cuda:1, ... "
        + ("(default: %(default)s)" if default else "(default: auto)"),
    )


def add_split(parser: argparse._ActionsContainer) -> None:
    """Declare --split: some of the frames of --data."""
    parser.add_argument(
        "--split", metavar="NAME", help="frames of ImageSets/NAME.txt of --data instead of all"
    )


def add_image_source(parser: argparse._ActionsContainer, images: str) -> None:
    """Declare --camera and --topic, which say how to read `images`."""
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


def add_output_weights(parser: argparse._ActionsContainer) -> None:
    """Declare --out: the checkpoint to write."""
    parser.add_argument(
        "--out",
        type=output_file,
        required=True,
        metavar="FILE",
        help="weights to write, .safetensors",
    )
