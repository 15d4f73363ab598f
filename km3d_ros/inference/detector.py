"""The whole chain for one image: preprocess, network, decode (docs/design.md, Path of a frame)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from km3d_ros.frames.reading import check_image
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import VirtualCamera, virtual_camera
from km3d_ros.inference.backends.selection import Choice, choose
from km3d_ros.inference.detections import Detections, columns, in_camera, unpack
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import DEFAULT_WEIGHTS, GRM, SCORE_THRESHOLD
from km3d_ros.network.spec import MAX_DETECTIONS, ModelSpec

if TYPE_CHECKING:
    import torch

    from km3d_ros.network.km3dnet import KM3DNet


@dataclass(frozen=True)
class StageSeconds:
    """Durations of the stages in seconds.

    preprocess: the image of the virtual camera. network: the graph, from this image on the host to
    tables on the host. decode: reading the tables, and back to the camera.
    """

    preprocess: float
    network: float
    decode: float


def release_memory() -> None:
    """Return the GPU memory of deleted detectors to the system; PyTorch would keep it."""
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


class Detector:
    """A compiled graph and the thresholds for its detections.

    score_threshold: detections with a lower score (peak × confidence) are left out.
    max_detections: maximum number of objects per image, 1 to MAX_DETECTIONS. The objects with the
        best peaks are kept.
    grm: "consistent" or "published", how positions are solved (`geometry.grm.solve`).
    classes: names of the wanted classes; empty: all. Objects of other classes do not count towards
        `max_detections`.
    field_of_view: horizontal, in degrees, of the network's view, within `options.VIEWS`; 0: by the
        rule of `virtual_camera` for each camera.
    These five may be changed between frames.
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
        self.field_of_view = 0.0

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
            InputError: the weights are not usable, or the device is not available.
        """
        weights = DEFAULT_WEIGHTS if path is None else Path(path)
        cv2.setNumThreads(threads or -1)
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
        from km3d_ros.inference.backends.pytorch import TorchBackend

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
        An object with a non-finite number is left out.

        Raises:
            InputError: the image has another type or size, or an error of `view`.
        """
        return self.batch([image], [camera])[0][0]

    def view(self, camera: CameraModel) -> VirtualCamera:
        """The virtual camera through which the network sees a camera, from a cache.

        Raises:
            InputError: the camera sees no part of this view.
        """
        return virtual_camera(camera, self.spec.input_size, self.field_of_view)

    def batch(
        self, images: Sequence[np.ndarray], cameras: Sequence[CameraModel]
    ) -> tuple[list[Detections], StageSeconds]:
        """Detect the objects of several images at once, of one or several cameras.

        images, cameras: of the same length; each pair and the errors as in `__call__`.
        Returns the detections of every image, and the durations of the stages for all images.
        """
        for image, camera in zip(images, cameras, strict=True):
            check_image(image, camera)
        start = perf_counter()
        views = [self.view(camera) for camera in cameras]
        inputs = GraphInputs.of(images, views)
        prepared = perf_counter()
        tables = self.choice.backend.run(inputs)[GRM.index(self.grm)]
        answered = perf_counter()
        detections = [self.read(*pair) for pair in zip(tables, views, strict=True)]
        stages = StageSeconds(prepared - start, answered - prepared, perf_counter() - answered)
        return detections, stages

    def warm_up(self, images: int) -> None:
        """Run once on this number of images, so that the first frame is not slower."""
        self.choice.backend.run(GraphInputs.zeros(images, self.spec))

    def read(self, table: np.ndarray, view: VirtualCamera) -> Detections:
        """The detections of one image that pass the thresholds, from a table of the graph."""
        rows, where = table, columns()
        if self.classes:
            wanted = [i for i, name in enumerate(self.spec.classes) if name in self.classes]
            rows = rows[np.isin(rows[:, where["class_index"].start], wanted)]
        rows = rows[: self.max_detections]
        peak, score = rows[:, where["peak_score"].start], rows[:, where["score"].start]
        wanted = (peak > 0) & (score >= self.score_threshold) & np.isfinite(rows).all(axis=1)
        return in_camera(unpack(rows[wanted]), view)
