"""A plain detector, the base of `speed.py`'s ratios: `python benchmarks/plain.py`.

It has the mathematics of `grm="published"` in the form of straightforward research code: the
network as it was trained, every head of a detection computed for the whole map, normalisation in
float64, and a NumPy pseudo-inverse for the position of each object. Prints the differences of its
positions from those of the package, on a Town frame.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import VirtualCamera, virtual_camera
from km3d_ros.inference.decode import Peaks, decode
from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector, StageSeconds
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import INFERENCE_HEADS, MAX_DETECTIONS, ModelSpec
from km3d_ros.town import render, sample_scene

EQUAL = 1e-3
"""Part of the distance up to which positions are the same; the package is in float32."""


class PlainDetector:
    """Answers one image of a level pinhole with (N, 3) positions and (N,) scores."""

    def __init__(self, model: KM3DNet, spec: ModelSpec):
        # Those that only help training cost nothing here either.
        model.heads = nn.ModuleDict({name: model.heads[name] for name in INFERENCE_HEADS})
        # One backbone of the package is in another memory format from the start.
        self._model = model.to(memory_format=torch.contiguous_format).eval()
        self._spec = spec

    @torch.no_grad()
    def __call__(
        self, image: np.ndarray, camera: CameraModel
    ) -> tuple[np.ndarray, np.ndarray, StageSeconds]:
        """Positions, scores and times of an image (h, w, 3) uint8, BGR."""
        times = [time.perf_counter()]
        view = virtual_camera(camera, self._spec.input_size)
        pixels = self._normalised(image, view)
        times.append(time.perf_counter())
        maps = self._model(pixels)
        times.append(time.perf_counter())
        positions, scores = self._objects(maps, view.affine, camera)
        times.append(time.perf_counter())
        return positions, scores, StageSeconds(*np.diff(times).tolist())

    def _normalised(self, image: np.ndarray, view: VirtualCamera) -> Tensor:
        warped = view.warp(image)
        if self._spec.channel_order == "rgb":
            warped = warped[..., ::-1]
        values = (warped / 255.0 - np.array(self._spec.mean)) / np.array(self._spec.std)
        return torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))

    def _objects(
        self, maps: dict[str, Tensor], affine: np.ndarray, camera: CameraModel
    ) -> tuple[np.ndarray, np.ndarray]:
        scores = maps["hm"].sigmoid()
        scores = scores * (scores == F.max_pool2d(scores, 3, stride=1, padding=1))
        best, index = scores.flatten(1).topk(MAX_DETECTIONS)
        height, width = scores.shape[-2:]
        cell = index % (height * width)
        peaks = Peaks(best, index // (height * width), cell % width, cell // width)
        heads = {
            name: values.flatten(2)[0, :, cell[0]].T[None]
            for name, values in maps.items()
            if name != "hm"
        }
        objects = decode(peaks, heads, self._spec)
        keypoints = (objects.keypoints[0].double().numpy() - affine[:, 2]) / affine[0, 0]
        rows = zip(keypoints, objects.size[0].numpy(), objects.alpha[0].numpy(), strict=True)
        positions = [_solve(*row, camera) for row in rows]
        return np.array(positions), (best * objects.confidence)[0].numpy()


def _solve(
    keypoints: np.ndarray, size: np.ndarray, alpha: float, camera: CameraModel
) -> np.ndarray:
    """Position (3,) of one object: least squares over the rays of its eight corners."""
    u = (keypoints[:, 0] - camera.cx) / camera.fx
    v = (keypoints[:, 1] - camera.cy) / camera.fy
    yaw = alpha + np.arctan2(u[8], 1)
    cosine, sine = np.cos(yaw), np.sin(yaw)
    length, width, height = size
    rows, values = [], []
    for k in range(8):
        along = length / 2 * (1 if k % 4 in (0, 1) else -1)
        across = width / 2 * (1 if k % 4 in (0, 3) else -1)
        dx = along * cosine + across * sine
        dy = height / 2 * (1 if k < 4 else -1)
        dz = -along * sine + across * cosine
        rows += [[1, 0, -u[k]], [0, 1, -v[k]]]
        values += [u[k] * dz - dx, v[k] * dz - dy]
    return np.linalg.pinv(np.array(rows)) @ np.array(values)


def main() -> None:
    """Compare with the package."""
    frame = render(sample_scene(2, 3))
    camera = CameraModel.from_projection(frame.projection, *frame.image.shape[1::-1])
    positions, _, _ = PlainDetector(*checkpoint.load(DEFAULT_WEIGHTS))(frame.image, camera)
    detector = Detector.from_checkpoint(None, "cpu", 0.0, grm="published", backend="torch")
    expected = detector(frame.image, camera).center
    # The package leaves out second peaks on one object, so compare with the nearest position.
    distances = np.abs(positions - expected[:, None]).max(axis=2).min(axis=1)
    difference = distances / np.abs(expected[:, 2])
    print(f"{len(expected)} objects, largest difference of a position: {difference.max():.1e} z")
    if difference.max() > EQUAL:
        sys.exit(f"the plain pipeline differs from the package by more than {EQUAL} z")


if __name__ == "__main__":
    main()
