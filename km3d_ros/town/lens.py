"""Town through any lens."""

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
"""Pixel of a frame that is black."""


def photograph(frame: TownFrame, camera: CameraModel) -> np.ndarray:
    """What another camera sees at the place of the one that a frame was rendered for.

    The frame, best of a wider view and more pixels per angle, is sampled along the rays of the
    camera's pixels, black where it does not reach. Its labels hold, but for their 2D boxes.

    Returns (height, width, 3) uint8 BGR.
    """
    height, width = frame.image.shape[:2]
    pinhole = CameraModel.from_projection(frame.projection, width, height)
    pixels = pinhole.project(_points_seen(camera)).nan_to_num(nan=_OUTSIDE)
    x, y = pixels.float().unbind(-1)
    return cv2.remap(frame.image, x.contiguous().numpy(), y.contiguous().numpy(), cv2.INTER_LINEAR)


@lru_cache(maxsize=8)
def _points_seen(camera: CameraModel) -> Tensor:
    """(height, width, 3) float64: a point on the ray of every pixel, NaN where there is none."""
    rows, columns = torch.meshgrid(
        torch.arange(camera.height), torch.arange(camera.width), indexing="ij"
    )
    rays = camera.rays(torch.stack((columns, rows), dim=-1).double())
    return F.pad(rays, (0, 1), value=1.0)
