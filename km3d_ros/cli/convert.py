"""`km3d convert`: published checkpoints to our format."""

from __future__ import annotations

import argparse
from pathlib import Path

from km3d_ros.cli._types import output_file


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "convert",
        help="turn a published .pth checkpoint into a .safetensors file",
        description="Convert a published KM3D checkpoint (res_18 or dla_34) to the format of km3d "
        "and the node.",
    )
    parser.add_argument("input", type=Path, metavar="IN.pth", help="published checkpoint")
    parser.add_argument(
        "output", type=output_file, metavar="OUT.safetensors", help="file to write"
    )


def run(args: argparse.Namespace) -> int:
    """Convert one file."""
    from km3d_ros.network import checkpoint, published

    model, spec = published.convert(args.input)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(args.output, model, spec)
    parameters = sum(value.numel() for value in model.parameters())
    print(
        f"{args.output}: {spec.architecture}, {parameters / 1e6:.1f} M parameters, "
        f"heads {', '.join(spec.heads)}"
    )
    return 0
