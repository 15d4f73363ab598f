"""`km3d export`: the whole detector as one ONNX file, in float32 or int8."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

from km3d_ros.cli import _options
from km3d_ros.cli._types import UsageError, output_file, whole
from km3d_ros.errors import InputError, pip_install
from km3d_ros.inference.options import SCORE_THRESHOLD
from km3d_ros.whole_file import write_whole

if TYPE_CHECKING:
    import numpy as np

    from km3d_ros.data.kitti import Frame
    from km3d_ros.inference.graph_inputs import GraphInputs
    from km3d_ros.network.spec import ModelSpec

SUFFIX = ".onnx"
FRAMES = 100
"""Default number of calibration images; more change almost nothing."""
CHECKED = 2
"""Images on which a graph is compared with PyTorch."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "export",
        help="write the detector as an ONNX graph",
        description="Write the whole detector, from the pixels to located boxes, as one ONNX "
        "graph, for km3d detect, bag and eval, the node and other runtimes. It is compared with "
        "the network in PyTorch, in ONNX Runtime and OpenVINO if they are installed. A float32 "
        "graph that differs is not written.",
    )
    add = parser.add_argument
    add("output", type=output_file, metavar="OUT.onnx", help="file to write")
    _options.add_weights(parser)
    add("--int8", action="store_true", help="quantise the network; needs --calibrate")
    add(
        "--calibrate",
        type=Path,
        metavar="PATH",
        help="images of typical scenes, without labels: KITTI-format folder, folder of images, or "
        "bag",
    )
    _options.add_image_source(parser, "images of --calibrate")
    add(
        "--frames",
        type=whole(1),
        metavar="N",
        help=f"most images to calibrate with, spread over all of them (default: {FRAMES})",
    )


def run(args: argparse.Namespace) -> int:
    """Export, compare, write."""
    _check_options(args)
    export = _import("km3d_ros.inference.export", "onnx")
    from km3d_ros.inference.comparison import compare_runtimes
    from km3d_ros.inference.detector import DEFAULT_WEIGHTS
    from km3d_ros.network import checkpoint

    weights = args.weights or DEFAULT_WEIGHTS
    if weights.suffix == SUFFIX:
        raise InputError(f"{weights}: already an exported graph, expected a checkpoint")
    model, spec = checkpoint.load(weights)
    if args.int8:
        quantisation = _import("km3d_ros.inference.quantisation", "onnxruntime")
        from km3d_ros.data.unlabelled import open_unlabelled

        with TemporaryDirectory() as folder:
            frames = open_unlabelled(args.calibrate, args.camera, Path(folder), args.topic)
            count = min(len(frames), args.frames or FRAMES)
            chosen = [i * len(frames) // count for i in range(count)]
            images = (_inputs(frames, [i], spec).pixels for i in chosen)
            how = {"images": len(chosen), "source": args.calibrate.name}
            graph = quantisation.quantise(export.to_onnx(model, spec), images, how)
            inputs = _inputs(frames, chosen[:CHECKED], spec)
    else:
        graph = export.to_onnx(model, spec)
        inputs = _town(spec)
    least_score = SCORE_THRESHOLD if args.int8 else 0.0
    for runtime, difference in compare_runtimes(graph, model, spec, inputs, least_score).items():
        print(f"{runtime}: {difference or 'not compared, it is not installed'}")
        # An int8 graph differs by more than rounding.
        if difference and not (args.int8 or difference.is_rounding):
            raise InputError(
                f"the graph in {runtime} is not the network in PyTorch ({difference}); nothing "
                "written"
            )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, graph)
    kind = "int8" if args.int8 else "float32"
    print(f"{args.output}: {spec.architecture}, {kind}, {len(graph) / 1e6:.1f} MB")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Check that the options go together and that the output is named like a graph."""
    if args.int8 and not args.calibrate:
        raise UsageError("--int8 needs --calibrate")
    for name in ("calibrate", "camera", "topic", "frames"):
        if getattr(args, name) is not None and not args.int8:
            raise UsageError(f"--{name} needs --int8")
    if args.output.suffix != SUFFIX:
        raise InputError(f"{args.output}: expected a file name that ends in {SUFFIX}")


def _import(module: str, package: str) -> ModuleType:
    """Import a module that needs an optional package."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"this needs the package {package}: {pip_install(package)}") from error


def _inputs(frames: list[Frame], indices: list[int], spec: ModelSpec) -> GraphInputs:
    """Some frames as inputs of the graph."""
    from km3d_ros.data.image_file import read_image

    chosen = [frames[i] for i in indices]
    images = [read_image(frame.image_path) for frame in chosen]
    return _seen(images, [frame.projection for frame in chosen], spec)


def _town(spec: ModelSpec) -> GraphInputs:
    """Rendered streets as inputs of the graph."""
    from km3d_ros.town import render, sample_scene

    frames = [render(sample_scene(0, i)) for i in range(CHECKED)]
    return _seen([frame.image for frame in frames], [f.projection for f in frames], spec)


def _seen(images: list[np.ndarray], projections: list[np.ndarray], spec: ModelSpec) -> GraphInputs:
    from km3d_ros.geometry.camera import CameraModel
    from km3d_ros.geometry.virtual_camera import virtual_camera
    from km3d_ros.inference.graph_inputs import GraphInputs

    views = []
    for image, projection in zip(images, projections, strict=True):
        camera = CameraModel.from_projection(projection, *image.shape[1::-1])
        views.append(virtual_camera(camera, spec.input_size))
    return GraphInputs.of(images, views)
