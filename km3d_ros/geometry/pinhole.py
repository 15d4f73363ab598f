"""Pinhole cameras as tensors, so that a network can take its cameras as an input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pinholes:
    """A batch of pinholes (...), for the exported ONNX graph and for training.

    `CameraModel` is for one camera. It checks its numbers and has a lens model. A graph can do
    neither.

    projection: (..., 3, 4) P = K [I | t], pixels and metres.
    """

    projection: Tensor

    @property
    def translation(self) -> Tensor:
        """t (..., 3) in metres, from points of the camera frame to the frame of the rays."""
        column = self.projection[..., 3]
        xy = _solve(
            self.projection, column[..., :2] - self.projection[..., :2, 2] * column[..., 2:]
        )
        return torch.cat((xy, column[..., 2:]), dim=-1)

    def rays(self, pixels: Tensor) -> Tensor:
        """Rays (x/z, y/z), (..., n, 2), through n pixels (..., n, 2) of each camera."""
        return unproject(pixels, self.projection[..., None, :, :3])

    def project(self, points: Tensor) -> Tensor:
        """Pixels (..., n, 2) of n points (..., n, 3) in each camera frame; where z > 0."""
        points = points + self.translation[..., None, :]
        return to_pixels(points[..., :2] / points[..., 2:], self.projection[..., None, :, :3])


def unproject(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Rays (..., 2) through pixels (..., 2) of pinholes with K (..., 3, 3), broadcast.

    >>> unproject(torch.tensor([740.0, 142.0]), torch.tensor([[100.0, 0, 640], [0, 50, 192],
    ...     [0, 0, 1]])).tolist()
    [1.0, -1.0]
    """
    return _solve(intrinsics, pixels - intrinsics[..., :2, 2])


def to_pixels(rays: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (..., 2) of rays (..., 2); the inverse of `unproject`."""
    fx, skew, shear, fy = intrinsics[..., :2, :2].flatten(-2).unbind(-1)
    x, y = rays.unbind(-1)
    return torch.stack((x * fx + y * skew, x * shear + y * fy), dim=-1) + intrinsics[..., :2, 2]


def _solve(intrinsics: Tensor, offsets: Tensor) -> Tensor:
    """Rays (..., 2) of pixels (..., 2) relative to the principal point."""
    fx, skew, shear, fy = intrinsics[..., :2, :2].flatten(-2).unbind(-1)
    u, v = offsets.unbind(-1)
    y = (v - shear / fx * u) / (fy - shear / fx * skew)
    return torch.stack(((u - skew * y) / fx, y), dim=-1)
