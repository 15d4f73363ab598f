"""`km3d train`: supervised and semi-supervised training on a KITTI-format folder."""

from __future__ import annotations

import argparse
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _training
from km3d_ros.cli._types import UsageError, as_usage_error, sides
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
        description="Train a detector. The same command continues an interrupted training from "
        "RUN/state.pt; RUN/log.csv has the losses. Several GPUs or machines: "
        "torchrun --nproc-per-node N -m -- km3d_ros.cli train ...",
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
        "--backbone-weights",
        type=Path,
        metavar="FILE",
        help="ImageNet features of res_18 (torchvision's resnet18) or dla_34 (its authors' "
        "dla34), .pth or .safetensors; without them these backbones start from random weights",
    )
    add(
        "--classes",
        type=_class_names,
        metavar="NAME,...",
        help="classes to train, with sizes measured from the labels: those of --weights, or "
        "Car,Pedestrian,Cyclist. With --weights, known classes keep what they have learned",
    )
    add(
        "--input-size",
        type=_size,
        metavar="WIDTHxHEIGHT",
        help="pixels of the network input, multiples of 32: those of --weights, or 640x192",
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the weights."""
    return _training.train(args, *_start(args))


def _start(args: argparse.Namespace) -> tuple[KM3DNet, ModelSpec]:
    import torch

    from km3d_ros.training.class_sizes import KITTI_SIZES, measured_sizes
    from km3d_ros.training.initial_weights import from_weights, new_model, new_spec

    if args.weights is not None and (args.architecture or args.backbone_weights):
        option = "--architecture" if args.architecture else "--backbone-weights"
        raise UsageError(f"{option}: the backbone is that of --weights")
    sizes = None
    if args.classes:
        folders = _training.open_labelled(args, args.classes)
        frames = (folder.objects(i) for folder in folders for i in range(len(folder)))
        sizes = measured_sizes(chain.from_iterable(frames), args.classes)
    torch.manual_seed(args.seed)
    if args.weights is not None:
        return from_weights(args.weights, args.input_size, sizes)
    with as_usage_error():
        architecture, size = args.architecture or ARCHITECTURE, args.input_size or INPUT_SIZE
        spec = new_spec(architecture, size, KITTI_SIZES if sizes is None else sizes)
    return new_model(spec, args.backbone_weights), spec


def _class_names(text: str) -> tuple[str, ...]:
    from km3d_ros.data.class_names import DONT_CARE, canonical

    names = tuple(canonical(name.strip()) for name in text.split(","))
    if not all(re.fullmatch(r"[^\W\d][\w-]*", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not class names, separated by commas")
    if len(set(names)) < len(names) or DONT_CARE in names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected different classes, not {DONT_CARE}")
    return names


def _size(text: str) -> tuple[int, int]:
    width, height = size = sides(text)
    if min(size) < 32 or width % 32 or height % 32 or width * height > MAX_INPUT_PIXELS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT in multiples of 32, at most {MAX_INPUT_PIXELS} pixels"
        )
    return height, width
