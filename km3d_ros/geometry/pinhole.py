"""Rectified cameras as tensors, so that a network can take its cameras as an input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from km3d_ros.geometry.camera import to_pixels, translation_of, unproject


@dataclass(frozen=True)
class Pinholes:
    """A batch of rectified cameras (...), inside the graph that is exported to ONNX.

    `CameraModel` is for one camera. It checks its numbers and has a lens, which a graph cannot.

    projection: (..., 3, 4) P = K [I | t], pixels and metres.
    size: (..., 2) width and height of the images in pixels.
    """

    projection: Tensor
    size: Tensor

    @property
    def translation(self) -> Tensor:
        """t (..., 3) in metres, from points of the camera frame to the frame of the rays."""
        return translation_of(self.projection)

    def rays(self, pixels: Tensor) -> Tensor:
        """Rays (x/z, y/z), (..., n, 2), through n pixels (..., n, 2) of each camera."""
        return unproject(pixels, self.projection[..., None, :, :3])

    def project(self, points: Tensor) -> Tensor:
        """Pixels (..., n, 2) of n points (..., n, 3) in each camera frame; where z > 0."""
        points = points + self.translation[..., None, :]
        return to_pixels(points[..., :2] / points[..., 2:], self.projection[..., None, :, :3])
