"""`km3d train`: supervised and semi-supervised training on a KITTI-format folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _training
from km3d_ros.cli._help import HelpFormatter
from km3d_ros.cli._types import UsageError, said_by_options
from km3d_ros.network.spec import MAX_INPUT_PIXELS

if TYPE_CHECKING:
    from km3d_ros.network.km3dnet import KM3DNet
    from km3d_ros.network.spec import ModelSpec

ARCHITECTURE = "lite"
INPUT_SIZE = (192, 640)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "train",
        help="train a detector on a KITTI-format folder",
        description="Train a detector. Interrupted trainings go on from RUN/state.pt when the "
        "same command is given again; RUN/log.csv has the losses. Several GPUs or machines: "
        "torchrun --nproc-per-node N -m -- km3d_ros.cli train ...",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    _training.add_options(parser)
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", help="checkpoint to start from (default: none)")
    add(
        "--architecture",
        metavar="NAME",
        help=f"backbone, lite, res_18 or dla_34: that of --weights, or {ARCHITECTURE}",
    )
    add(
        "--input-size",
        type=_size,
        metavar="WIDTHxHEIGHT",
        help="pixels of the network input, multiples of 32: those of --weights, or 640x192",
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the weights."""
    model, spec = _start(args)
    return _training.train(args, model, spec)


def _start(args: argparse.Namespace) -> tuple[KM3DNet, ModelSpec]:
    import torch

    from km3d_ros.training.initial_weights import from_weights, new_model, new_spec

    torch.manual_seed(args.seed)
    if args.weights is None:
        with said_by_options():
            spec = new_spec(args.architecture or ARCHITECTURE, args.input_size or INPUT_SIZE)
        return new_model(spec), spec
    if args.architecture:
        raise UsageError("--architecture: the architecture is that of --weights")
    return from_weights(args.weights, args.input_size)


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) if side.isdigit() else 0 for side in text.split("x")]
    if (
        len(sides) != 2
        or any(side < 32 or side % 32 for side in sides)
        or sides[0] * sides[1] > MAX_INPUT_PIXELS
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT in multiples of 32, at most {MAX_INPUT_PIXELS} pixels"
        )
    width, height = sides
    return height, width
