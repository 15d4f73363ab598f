"""The whole chain for one image: preprocess, network, decode (docs/design.md, Path of a frame)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
import torch
from torch import Tensor

from km3d_ros.frames.reading import check_image
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.backends.selection import Choice, choose
from km3d_ros.inference.decode import Objects, locate
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.graph import GraphInputs
from km3d_ros.inference.options import SCORE_THRESHOLD
from km3d_ros.inference.table import columns, pack, unpack
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import MAX_DETECTIONS, ModelSpec

_ALL_THREADS = torch.get_num_threads()

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "lite_streets.safetensors"


@dataclass(frozen=True)
class StageSeconds:
    """Durations of the stages in seconds.

    preprocess: scaling the image. network: the graph, from the scaled image on the host to tables
    on the host. decode: reading the tables, and the lens where there is one.
    """

    preprocess: float
    network: float
    decode: float


class Detector:
    """A compiled graph and the thresholds for its detections.

    score_threshold: detections with a lower score (peak × confidence) are left out.
    max_detections: most objects of an image, 1 to MAX_DETECTIONS; those of the best peaks.
    grm: "consistent" or "published", how positions are solved (`geometry.grm.solve`).
    classes: names of the classes that are wanted; empty: all. Others do not count as detections.
    These four may be changed between frames.
    """

    def __init__(
        self,
        choice: Choice,
        score_threshold: float = SCORE_THRESHOLD,
        max_detections: int = MAX_DETECTIONS,
        grm: str = "consistent",
    ):
        self.choice = choice
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.grm = grm
        self.classes: Sequence[str] = ()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        score_threshold: float = SCORE_THRESHOLD,
        max_detections: int = MAX_DETECTIONS,
        grm: str = "consistent",
        precision: str = "float32",
        backend: str = "auto",
        threads: int = 0,
    ) -> Detector:
        """A detector with the weights of a file; None means the embedded weights.

        path: a checkpoint, or a graph of `km3d export` (.onnx).
        device, precision, backend: of `backends.selection.choose`.
        threads: number of threads that OpenVINO, PyTorch and OpenCV use, in this process; 0: all
            cores.

        Raises:
            InputError: weights that cannot be used, or a device that is not there.
        """
        weights = DEFAULT_WEIGHTS if path is None else Path(path)
        _limit_threads(threads)
        choice = choose(weights, device, backend, precision, threads)
        return cls(choice, score_threshold, max_detections, grm)

    @classmethod
    def of_model(
        cls,
        model: KM3DNet,
        spec: ModelSpec,
        device: torch.device,
        score_threshold: float = SCORE_THRESHOLD,
    ) -> Detector:
        """A detector with a copy of a model in memory."""
        choice = Choice(TorchBackend(model, spec, device), spec, "the model is in memory")
        return cls(choice, score_threshold)

    @property
    def spec(self) -> ModelSpec:
        """The specification of the weights."""
        return self.choice.spec

    @property
    def is_faster_in_batches(self) -> bool:
        """Whether several images together take less time than one after the other."""
        return self.choice.backend.device != "cpu"

    def __call__(self, image: np.ndarray, camera: CameraModel) -> Detections:
        """Detect the objects of one image.

        image: (h, w, 3) uint8, BGR, of the size of the camera.
        Returns detections on the CPU; an object with any number that is not finite is left out.

        Raises:
            InputError: the image is not of that kind or size.
        """
        return self.batch([image], [camera])[0][0]

    @torch.inference_mode()
    def batch(
        self, images: Sequence[np.ndarray], cameras: Sequence[CameraModel]
    ) -> tuple[list[Detections], StageSeconds]:
        """Detect the objects of several images at once, of one or several cameras.

        images, cameras: one of each per image, as of a call.
        Returns the detections of every image, and what the stages took together.

        Raises:
            InputError: an image is not of that kind or size.
        """
        for image, camera in zip(images, cameras, strict=True):
            check_image(image, camera)
        start = perf_counter()
        inputs = GraphInputs.of(images, cameras, self.spec)
        prepared = perf_counter()
        tables = self.choice.backend.run(inputs)
        answered = perf_counter()
        detections = self.read(tables, inputs.affine, cameras)
        stages = StageSeconds(prepared - start, answered - prepared, perf_counter() - answered)
        return detections, stages

    def read(
        self, tables: tuple[Tensor, Tensor], affines: np.ndarray, cameras: Sequence[CameraModel]
    ) -> list[Detections]:
        """The detections of each image, from the tables of the graph."""
        return [self._detections(*rows) for rows in zip(*tables, affines, cameras, strict=True)]

    def warm_up(self, images: int) -> None:
        """Run once on this number of images, so that the first frame is not slower."""
        self.choice.backend.run(GraphInputs.zeros(images, self.spec))

    def located(self, objects: Objects, affine: np.ndarray, camera: CameraModel) -> Detections:
        """The objects (N,) of one image that pass the thresholds, in space, on the CPU.

        objects: on any device. affine: (2, 3) from image to network input pixels.
        """
        found = locate(objects, affine, camera, self.spec.noise, self.grm)
        return self._wanted(pack(found).cpu())

    def _detections(
        self, objects: Tensor, detections: Tensor, affine: np.ndarray, camera: CameraModel
    ) -> Detections:
        """The detections from the two tables of one image."""
        if self.grm == "consistent" and camera.is_rectified:
            return self._wanted(detections)
        return self.located(unpack(Objects, objects), affine, camera)

    def _wanted(self, table: Tensor) -> Detections:
        """The rows of a table (N, columns) that are finite and pass the thresholds."""
        # NumPy, because PyTorch needs milliseconds to start its threads for a selection of rows.
        rows, where = table.numpy(), columns(Detections)
        if self.classes:
            wanted = [i for i, name in enumerate(self.spec.classes) if name in self.classes]
            rows = rows[np.isin(rows[:, where["class_index"].start], wanted)]
        rows = rows[: self.max_detections]
        peak, score = rows[:, where["peak_score"].start], rows[:, where["score"].start]
        wanted = (peak > 0) & (score >= self.score_threshold) & np.isfinite(rows).all(axis=1)
        return unpack(Detections, torch.from_numpy(rows[wanted]))


def _limit_threads(threads: int) -> None:
    """Let PyTorch and OpenCV use so many threads; 0: as many as at the start."""
    torch.set_num_threads(threads or _ALL_THREADS)
    cv2.setNumThreads(threads or -1)
