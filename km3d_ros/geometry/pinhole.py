"""Rectified cameras as tensors, so that a network can be given its cameras as an input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from km3d_ros.geometry.camera import unproject


@dataclass(frozen=True)
class Pinholes:
    """Rectified cameras of any shape (...); what `CameraModel` is to one camera with a lens.

    projection: (..., 3, 4) P = K [I | t], pixels and metres.
    size: (..., 2) width and height of the images in pixels.
    """

    projection: Tensor
    size: Tensor

    @property
    def translation(self) -> Tensor:
        """t (..., 3) in metres, from points of the camera frame to the frame of the rays."""
        focal = torch.stack((self.projection[..., 0, 0], self.projection[..., 1, 1]), dim=-1)
        column = self.projection[..., 3]
        xy = (column[..., :2] - self.projection[..., :2, 2] * column[..., 2:]) / focal
        return torch.cat((xy, column[..., 2:]), dim=-1)

    def rays(self, pixels: Tensor) -> Tensor:
        """Rays (x/z, y/z), (..., n, 2), through n pixels (..., n, 2) of each camera."""
        return unproject(pixels, self.projection[..., None, :, :3])

    def project(self, points: Tensor) -> Tensor:
        """Pixels (..., n, 2) of n points (..., n, 3) in each camera frame; where z > 0."""
        points = points + self.translation[..., None, :]
        matrix = self.projection[..., None, :, :]
        focal = torch.stack((matrix[..., 0, 0], matrix[..., 1, 1]), dim=-1)
        return points[..., :2] / points[..., 2:] * focal + matrix[..., :2, 2]
