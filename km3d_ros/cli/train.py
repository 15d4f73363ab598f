"""`km3d train`: supervised training on a KITTI-format folder."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from km3d_ros.cli._types import count, natural

LEAST_SCORE = 0.02
"""Validation keeps what scores more than this: AP is about the whole precision-recall curve."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "train",
        help="train a detector on a KITTI-format folder",
        description="Train a detector. Interrupted trainings go on from RUN/state.pt when the "
        "same command is given again; RUN/log.csv has the losses.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="KITTI-format folder")
    parser.add_argument("--split", help="train on ImageSets/SPLIT.txt instead of all frames")
    parser.add_argument(
        "--validation",
        type=Path,
        help="KITTI-format folder; its figures are printed and stored with the weights",
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of state and log")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument(
        "--architecture", default="lite", choices=("lite", "res_18"), help="backbone"
    )
    parser.add_argument(
        "--input-size", type=_size, default="640x192", help="WIDTHxHEIGHT of the network input"
    )
    parser.add_argument("--steps", type=count, default=12000, help="optimiser steps")
    parser.add_argument("--batch-size", type=count, default=16, help="frames per step")
    parser.add_argument(
        "--learning-rate", type=float, default=1e-3, help="of new layers, for AdamW"
    )
    parser.add_argument("--seed", type=natural, default=0, help="of weights, order and views")
    parser.add_argument("--workers", type=natural, default=1, help="processes that load frames")
    parser.add_argument("--device", default="auto", help='"auto", "cpu" or "cuda"')


def run(args: argparse.Namespace) -> int:
    """Train and write the weights."""
    import torch

    from km3d_ros.data.kitti import KittiDataset
    from km3d_ros.evaluation.validation import validate
    from km3d_ros.inference.detector import Detector, select_device
    from km3d_ros.network import checkpoint
    from km3d_ros.training.fit import Plan, fit
    from km3d_ros.training.method import Method
    from km3d_ros.training.start import new_model, new_spec

    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    spec = new_spec(args.architecture, args.input_size)
    plan = Plan(
        args.steps,
        args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        workers=args.workers,
    )
    frames = KittiDataset(args.data, args.split)
    device = select_device(args.device)
    model = fit(new_model(spec), spec, frames, None, plan, Method(), args.run, device)
    summary: dict[str, Any] = {
        "command": shlex.join(["km3d", *sys.argv[1:]]),
        "seed": args.seed,
        "frames": len(frames),
        "images_seen": args.steps * args.batch_size,
    }
    checkpoint.save(args.out, model, replace(spec, training=summary), dtype=torch.float16)
    if args.validation:
        # What is judged are the weights as they were written, in half precision.
        detector = Detector.from_checkpoint(args.out, args.device, score_threshold=LEAST_SCORE)
        summary["validation"] = validate(detector, KittiDataset(args.validation))
        print(json.dumps(summary["validation"], indent=2))
        checkpoint.save(args.out, model, replace(spec, training=summary), dtype=torch.float16)
    print(f"{args.out}: {args.architecture}, {args.steps} steps")
    return 0


def _size(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.split("x"))
    if width % 32 or height % 32 or min(width, height) < 32:
        raise argparse.ArgumentTypeError(f"{text}: width and height must be multiples of 32")
    return height, width
