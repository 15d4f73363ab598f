"""The cost of a frame without the network, and how it grows: `python benchmarks/growth.py`.

Measures the CPU time per frame, summed over all threads, of everything except the backbone; the
limit is 6 ms in total. Also measures the latency with more objects, larger images and more
cameras, with the embedded weights in the default backend. Compared configurations alternate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from std_msgs.msg import Header

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.decode import locate, pack, without_duplicates
from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector
from km3d_ros.inference.graph import tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network import checkpoint
from km3d_ros.node.markers import marker_array
from km3d_ros.node.messages import detection_array

RESULTS = Path(__file__).parent / "results" / "growth.json"
SIZES = ((640, 192), (1280, 384), (1920, 576), (1920, 1080))
OBJECTS = (1, 10, 50, 100)
CAMERAS = (1, 2, 4, 8)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=100, help="frames (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="into benchmarks/results/growth.json")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(score_threshold=0.0, precision="auto")
    figures = {
        "backend": str(detector.choice),
        "cpu_milliseconds": parts(detector, args.repeat),
        "milliseconds_by_objects": medians(by_objects(detector), args.repeat),
        "milliseconds_of_messages_by_objects": medians(messages(detector), args.repeat),
        "milliseconds_by_image": medians(by_image(detector), args.repeat),
        "milliseconds_by_cameras": medians(by_cameras(detector), max(args.repeat // 4, 1)),
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    print(text)
    if args.save:
        RESULTS.write_text(text + "\n")


def parts(detector: Detector, repeat: int) -> dict[str, float]:
    """CPU milliseconds of each part of a frame of 1280×384 pixels with 100 objects."""
    image, camera = picture(1280, 384)
    view = detector.view(camera)
    inputs = GraphInputs.of([image], [view])
    # The same operations as in the exported graph, where they cannot be timed alone.
    graph = TorchBackend(*checkpoint.load(DEFAULT_WEIGHTS), torch.device("cpu")).graph
    pixels, projection = tensors(inputs)
    (table,) = detector.choice.backend.run(inputs)[0]
    found = detector(image, camera)
    header, names, pool = Header(frame_id="camera"), detector.spec.classes, []
    with torch.inference_mode():
        features, peaks = graph.look(pixels)
        steps = {
            "preprocess": lambda: GraphInputs.of([image], [view]),
            "heads, decode, GRM": lambda: [
                pack(found)
                for found in locate(
                    without_duplicates(graph.read(features, peaks)),
                    Pinholes(projection[:, None]),
                    detector.spec.noise,
                )
            ],
            "reading the table": lambda: detector.read(table, view),
            "messages": lambda: detection_array(found, names, camera, header, pool),
        }
        figures = {name: cpu_milliseconds(step, repeat) for name, step in steps.items()}
    return figures | {"total": round(sum(figures.values()), 2)}


def by_objects(detector: Detector) -> dict[int, Callable[[], object]]:
    """From image to message, with a number of best objects."""
    image, camera = picture(1280, 384)
    header, pool = Header(frame_id="camera"), []

    def answer(count: int) -> None:
        found = fewer(detector, count)(image, camera)
        detection_array(found, detector.spec.classes, camera, header, pool)

    return {count: partial(answer, count) for count in OBJECTS}


def messages(detector: Detector) -> dict[str, Callable[[], object]]:
    """Building the messages of a number of objects; markers only for viewers."""
    image, camera = picture(1280, 384)
    found, names = detector(image, camera), detector.spec.classes
    header, pool = Header(frame_id="camera"), []
    builders = {
        "detections": lambda objects: detection_array(objects, names, camera, header, pool),
        "markers": lambda objects: marker_array(objects, names, camera, header, 0.5),
    }
    return {
        f"{count} {name}": partial(build, found[:count])
        for name, build in builders.items()
        for count in OBJECTS
    }


def by_image(detector: Detector) -> dict[str, Callable[[], object]]:
    """From images of several sizes to detections."""
    return {f"{w}×{h}": partial(detector, *picture(w, h)) for w, h in SIZES}


def by_cameras(detector: Detector) -> dict[int, Callable[[], object]]:
    """From images of several cameras, at once, to their detections."""
    image, camera = picture(1280, 384)
    return {n: partial(detector.batch, [image] * n, [camera] * n) for n in CAMERAS}


def fewer(detector: Detector, count: int) -> Detector:
    """The same with fewer objects."""
    return Detector(detector.choice, detector.score_threshold, count)


def picture(width: int, height: int) -> tuple[np.ndarray, CameraModel]:
    """Noise, in which there are always 100 peaks, and a camera for it."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    intrinsics = [[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]]
    return image, CameraModel.from_intrinsics(intrinsics, width, height)


def medians(functions: dict, repeat: int) -> dict:
    """Wall time of many calls in milliseconds, by name."""
    seconds: dict = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1e3 * float(np.median(times)), 2) for name, times in seconds.items()}


def cpu_milliseconds(function: Callable[[], object], repeat: int) -> float:
    """Mean CPU time of many calls, of all threads; a call is shorter than the clock's tick."""
    function()
    start = time.process_time()
    for _ in range(repeat):
        function()
    return round(1e3 * (time.process_time() - start) / repeat, 2)


if __name__ == "__main__":
    main()
