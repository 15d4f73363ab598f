"""A detector in a separate process that answers one request at a time."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainDetector

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame, KittiDataset
from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.network import checkpoint

LEAST_FRAMES = 2
"""Least number of frames of a round."""


@dataclass(frozen=True)
class Configuration:
    """backend: "plain" for the base. weights: a checkpoint, or a graph for int8."""

    backbone: str
    backend: str
    precision: str
    weights: Path


class Worker:
    """A process that runs one configuration. Wait for it once, until it has loaded."""

    def __init__(self, configuration: Configuration, data: Path):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, configuration, data)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> Any:
        """The answer to the last request. The first answer needs no request."""
        return self._connection.recv()

    def ask(self, what: str, amount: float = 0) -> Any:
        """The answer to a request."""
        self._connection.send((what, amount))
        return self.wait()

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, configuration: Configuration, data: Path) -> None:
    frames = KittiDataset(data)
    detector = _opened(configuration)
    seen = [_view(frames[i]) for i in range(2)]
    _run(detector, *seen[0])
    connection.send("ready")
    while True:
        try:
            what, amount = connection.recv()
        except EOFError:
            return
        if what == "time":
            connection.send(_times(detector, seen, amount))
        elif what == "judge":
            judged = torch.utils.data.Subset(frames, range(int(amount)))
            connection.send(detect_all(detector, judged).results)
        elif what == "megabytes":
            connection.send(_peak_megabytes())


def _opened(configuration: Configuration) -> Detector | PlainDetector:
    """The detector of a configuration. Raises RuntimeError if its backend was replaced."""
    if configuration.backend == "plain":
        return PlainDetector(*checkpoint.load(configuration.weights))
    detector = Detector.from_checkpoint(
        configuration.weights,
        "cpu",
        LEAST_SCORE,
        precision="auto" if configuration.precision == "int8" else configuration.precision,
        backend=configuration.backend,
    )
    if detector.choice.backend.name != configuration.backend:
        raise RuntimeError(f"{configuration.backend} cannot run {configuration.weights}")
    return detector


def _times(detector: Detector | PlainDetector, seen: list, seconds: float) -> list[list[float]]:
    """Seconds of preprocess, network and decode of each frame, for a period of time."""
    _run(detector, *seen[0])
    times, end = [], time.perf_counter() + seconds
    while len(times) < LEAST_FRAMES or time.perf_counter() < end:
        times.append(_run(detector, *seen[len(times) % len(seen)]))
    return times


def _run(
    detector: Detector | PlainDetector, image: np.ndarray, camera: CameraModel
) -> list[float]:
    if isinstance(detector, PlainDetector):
        stages = detector(image, camera)[2]
    else:
        _, stages = detector.batch([image], [camera])
    return [stages.preprocess, stages.network, stages.decode]


def _view(frame: Frame) -> tuple[np.ndarray, CameraModel]:
    image = read_image(frame.image_path)
    return image, CameraModel.from_projection(frame.projection, *image.shape[1::-1])


def _peak_megabytes() -> int:
    """Peak memory. `getrusage` would include the memory of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) // 1000
