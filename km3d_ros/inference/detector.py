"""The whole chain for one image: preprocess, network, decode (design, section 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.decode import Objects, Peaks, decode, find_peaks, locate
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.preprocess import to_input
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import INFERENCE_HEADS, SCORE_THRESHOLD, ModelSpec

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "lite_town.safetensors"
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}
REGRESSION_HEADS = tuple(name for name in INFERENCE_HEADS if name != "hm")


@dataclass(frozen=True)
class StageSeconds:
    """How long the stages took."""

    preprocess: float
    network: float
    decode: float


class Detector:
    """A network on a device, and what is wanted of it.

    score_threshold: detections with a lower score (peak × confidence) are left out.
    max_detections: objects that are decoded at most.
    grm: "consistent" or "published", how positions are solved (`geometry.grm.solve`).
    These three may be changed between frames.
    """

    def __init__(
        self,
        model: KM3DNet,
        spec: ModelSpec,
        device: str = "auto",
        score_threshold: float = SCORE_THRESHOLD,
        max_detections: int = 100,
        grm: str = "consistent",
        precision: str = "float32",
    ):
        self.spec = spec
        self.device = select_device(device)
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.grm = grm
        self._precision = PRECISIONS[precision]
        self._model = model.to(self.device).eval()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        score_threshold: float = SCORE_THRESHOLD,
        max_detections: int = 100,
        grm: str = "consistent",
        precision: str = "float32",
    ) -> Detector:
        """A detector with the weights of a file, or the embedded ones where it is None.

        device: "auto" (the first GPU, else the CPU) or a device of PyTorch ("cpu", "cuda:1").
        precision: of the network, "float32" or "float16"; what follows it is float32.

        Raises:
            InputError: weights that cannot be used, or a device that is not there.
        """
        model, spec = checkpoint.load(DEFAULT_WEIGHTS if path is None else path)
        return cls(model, spec, device, score_threshold, max_detections, grm, precision)

    def __call__(self, image: np.ndarray, camera: CameraModel) -> Detections:
        """Detect the objects of one image.

        image: (h, w, 3) uint8, BGR, of the size that the camera says.
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
        views = list(zip(images, cameras, strict=True))
        for image, camera in views:
            check_image(image, camera)
        start = perf_counter()
        pixels, affines = zip(*(to_input(*view, self.spec) for view in views), strict=True)
        batch = torch.cat(pixels)
        prepared = perf_counter()
        clock = _NetworkClock(self.device)
        objects = self.objects(batch)
        clock.stop()
        detections = [
            self.detections(objects[index], affine, camera)
            for index, (affine, camera) in enumerate(zip(affines, cameras, strict=True))
        ]
        finished = perf_counter()
        network = clock.seconds()
        return detections, StageSeconds(prepared - start, network, finished - prepared - network)

    @torch.inference_mode()
    def objects(self, pixels: Tensor) -> Objects:
        """What the network sees in B images.

        pixels: (B, 3, H, W) float32 network input, as of `preprocess.to_input`.
        Returns `max_detections` objects of each image, (B, K), on the device of the detector.
        """
        return self.read(*self.look(pixels))

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> tuple[Tensor, Peaks]:
        """Features (B, C, h, w) of B images, and the `max_detections` best peaks of each."""
        with self._autocast():
            features = self._model.features(pixels.to(self.device))
            return features, find_peaks(self._model.heatmap(features), self.max_detections)

    @torch.inference_mode()
    def read(self, features: Tensor, peaks: Peaks) -> Objects:
        """The objects (B, K) at these peaks."""
        batch = torch.arange(len(features), device=self.device)[:, None].expand_as(peaks.x)
        with self._autocast():
            heads = self._model.regress(
                features, batch.flatten(), peaks.x.flatten(), peaks.y.flatten(), REGRESSION_HEADS
            )
        heads = {name: values.unflatten(0, peaks.x.shape) for name, values in heads.items()}
        return decode(peaks, heads, self.spec)

    @torch.inference_mode()
    def detections(self, objects: Objects, affine: np.ndarray, camera: CameraModel) -> Detections:
        """The objects (N,) of one image that are wanted, located, on the CPU.

        affine: (2, 3) from image to network input pixels.
        """
        detections = locate(objects, affine, camera, self.spec.noise, self.grm)
        detections, finite = to_host(detections)
        wanted = (detections.peak_score > 0) & (detections.score >= self.score_threshold)
        return detections[finite & wanted]

    def _autocast(self) -> torch.autocast:
        half = self._precision != torch.float32
        return torch.autocast(self.device.type, self._precision, enabled=half)


class _NetworkClock:
    """Times what the device does between making and stopping it, without waiting for it."""

    def __init__(self, device: torch.device):
        self._device = device
        self._cuda = device.type == "cuda"
        self._start = self._mark()

    def stop(self) -> None:
        self._stop = self._mark()

    def seconds(self) -> float:
        """To be asked for when the device has finished."""
        if self._cuda:
            return self._start.elapsed_time(self._stop) / 1000
        return self._stop - self._start

    def _mark(self):
        if not self._cuda:
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def select_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here") from error
    return device


def check_image(image: np.ndarray, camera: CameraModel) -> None:
    """Refuse what is no BGR image of this camera.

    Raises:
        InputError: `image` is not (h, w, 3) uint8 of the camera's size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image is {image.dtype} {image.shape}, expected uint8 (h, w, 3)")
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"image is {width}x{height} pixels, but its camera {camera.width}x{camera.height}"
        )


def to_host(detections: Detections) -> tuple[Detections, Tensor]:
    """The same table on the CPU, in one copy, and (N,) which rows are finite."""
    columns = {f.name: getattr(detections, f.name) for f in fields(detections)}
    count = len(detections)
    widths = [math.prod(column.shape[1:]) for column in columns.values()]
    flat = (c.reshape(count, w).float() for c, w in zip(columns.values(), widths, strict=True))
    table = torch.cat(list(flat), dim=1).cpu()
    parts = table.split(widths, dim=1)
    on_host = {
        name: part.reshape(column.shape).to(column.dtype)
        for (name, column), part in zip(columns.items(), parts, strict=True)
    }
    return Detections(**on_host), table.isfinite().all(1)
