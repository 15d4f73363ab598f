"""`km3d export`: the whole detector as one ONNX file, in float32 or int8."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
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
    from km3d_ros.geometry.camera import CameraModel
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
            source = args.calibrate, args.camera, Path(folder), args.topic
            frames = open_unlabelled(*source, _options.mounting_of(args))
            count = min(len(frames), args.frames or FRAMES)
            chosen = [frames[i * len(frames) // count] for i in range(count)]
            images = (_inputs([picture], spec).pixels for picture in _pictures(chosen))
            how = {"images": count, "source": args.calibrate.name}
            graph = quantisation.quantise(export.to_onnx(model, spec), images, how)
            inputs = _inputs(_pictures(chosen[:CHECKED]), spec)
    else:
        graph, inputs = export.to_onnx(model, spec), _inputs(_streets(), spec)
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
    mount = ("camera_pitch", "camera_roll", "base_frame")
    for name in ("calibrate", "camera", "topic", "frames", *mount):
        if getattr(args, name) and not args.int8:
            raise UsageError(f"--{name.replace('_', '-')} needs --int8")
    if args.output.suffix != SUFFIX:
        raise InputError(f"{args.output}: expected a file name that ends in {SUFFIX}")


def _import(module: str, package: str) -> ModuleType:
    """Import a module that needs an optional package."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"this needs the package {package}: {pip_install(package)}") from error


def _pictures(frames: Iterable[Frame]) -> Iterator[tuple[np.ndarray, CameraModel]]:
    """The images of frames, read one after the other, and their cameras."""
    from km3d_ros.data.image_file import read_image

    for frame in frames:
        image = read_image(frame.image_path)
        yield image, frame.camera_of(image)


def _streets() -> Iterator[tuple[np.ndarray, CameraModel]]:
    """Rendered images and their cameras."""
    from km3d_ros.geometry.camera import CameraModel
    from km3d_ros.town import render, sample_scene

    for i in range(CHECKED):
        street = render(sample_scene(0, i))
        size = street.image.shape[1::-1]
        yield street.image, CameraModel.from_projection(street.projection, *size)


def _inputs(pictures: Iterable[tuple[np.ndarray, CameraModel]], spec: ModelSpec) -> GraphInputs:
    """What the network sees of pictures."""
    from km3d_ros.geometry.virtual_camera import virtual_camera
    from km3d_ros.inference.graph_inputs import GraphInputs

    images, cameras = zip(*pictures, strict=True)
    return GraphInputs.of(images, [virtual_camera(camera, spec.input_size) for camera in cameras])
