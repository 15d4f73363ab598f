"""The inputs of the network's graph: images and cameras as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import VirtualCamera, virtual_camera
from km3d_ros.network.spec import ModelSpec


@dataclass(frozen=True)
class GraphInputs:
    """B images of virtual cameras: the inputs of the graph."""

    pixels: np.ndarray
    """(B, H, W, 3) uint8, BGR."""
    projection: np.ndarray
    """(B, 3, 4) float32: P of each virtual camera, from its level frame to its pixels."""

    @classmethod
    def of(cls, images: Sequence[np.ndarray], views: Sequence[VirtualCamera]) -> GraphInputs:
        """What virtual cameras see of the images (h, w, 3), uint8, BGR, of their cameras."""
        pixels = [view.warp(image) for image, view in zip(images, views, strict=True)]
        projections = [view.projection for view in views]
        return cls(np.stack(pixels), np.stack(projections).astype(np.float32))

    def __getitem__(self, images: slice) -> GraphInputs:
        """The inputs of some of the images."""
        return GraphInputs(**{name: array[images] for name, array in self.by_name().items()})

    def by_name(self) -> dict[str, np.ndarray]:
        """The arrays by the names of the graph's inputs, in their order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def zeros(cls, count: int, spec: ModelSpec) -> GraphInputs:
        """Black images with a plausible camera, for warming up."""
        height, width = spec.input_size
        intrinsics = [[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]
        camera = CameraModel.from_intrinsics(intrinsics, width, height)
        view = virtual_camera(camera, spec.input_size)
        return cls.of([np.zeros((height, width, 3), np.uint8)] * count, [view] * count)
