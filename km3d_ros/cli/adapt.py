"""`km3d adapt`: trained weights for another camera, from its images without 3D labels."""

from __future__ import annotations

import argparse

from km3d_ros.cli import _options, _training
from km3d_ros.cli._types import UsageError

DEFAULTS = {"steps": 3000, "learning_rate": 2e-4}
"""Defaults that differ from those of `km3d train`."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "adapt",
        help="adapt weights to another camera with its images without 3D labels",
        description="Continue a training with labelled images, which may come from other "
        "cameras, and with images of your camera, unlabelled or with 2D boxes: two views of each "
        "must agree on what they see. Interruptions, logs and torchrun as for km3d train.",
        allow_abbrev=False,
    )
    _training.add_options(parser, **DEFAULTS)
    _options.add_weights(parser)


def run(args: argparse.Namespace) -> int:
    """Adapt and write the weights."""
    if not (args.unlabelled or args.boxes):
        raise UsageError("one of the arguments --unlabelled and --boxes is required, or both")
    import torch

    from km3d_ros.inference.detector import DEFAULT_WEIGHTS
    from km3d_ros.training.initial_weights import from_weights

    torch.manual_seed(args.seed)
    model, spec = from_weights(args.weights or DEFAULT_WEIGHTS)
    return _training.train(args, model, spec)
