"""Town images through any lens model."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.town.render import TownFrame

_OUTSIDE = -2.0
"""Pixel coordinate outside every frame, for which `cv2.remap` returns black."""


def photograph(frame: TownFrame, camera: CameraModel) -> np.ndarray:
    """Resample a frame to the image of another camera at the same position.

    Each pixel of `camera` takes the colour of the frame along its ray. Pixels whose ray misses the
    frame are black. Render the frame with a wider field of view and more pixels per degree than
    `camera`, to fill the image and keep it sharp. The labels of the frame stay valid, except for
    their 2D boxes.

    Returns (height, width, 3) uint8 BGR.
    """
    height, width = frame.image.shape[:2]
    pinhole = CameraModel.from_projection(frame.projection, width, height)
    pixels = pinhole.project(_points_seen(camera)).nan_to_num(nan=_OUTSIDE)
    x, y = pixels.float().unbind(-1)
    return cv2.remap(frame.image, x.contiguous().numpy(), y.contiguous().numpy(), cv2.INTER_LINEAR)


@lru_cache(maxsize=8)
def _points_seen(camera: CameraModel) -> Tensor:
    """(height, width, 3) float64: point on the ray of each pixel, NaN for pixels without a ray."""
    rows, columns = torch.meshgrid(
        torch.arange(camera.height), torch.arange(camera.width), indexing="ij"
    )
    rays = camera.rays(torch.stack((columns, rows), dim=-1).double())
    return F.pad(rays, (0, 1), value=1.0)
