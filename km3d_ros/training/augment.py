"""Random views of a frame: a mirror image, one affine and a change of colour.

Geometry stays exact: a view is an affine from image to input pixels, and its inverse takes the
predicted keypoints back to the pixels of the intrinsics.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from km3d_ros.data.kitti_labels import KittiObject

SCALE = (0.6, 1.3)
SHIFT = 0.1
"""Largest shift of a view, relative to the width and height of the input."""
GAIN = 0.25
OFFSET = 20.0
TINT = 0.08


def mirrored(
    image: np.ndarray, projection: np.ndarray, objects: list[KittiObject]
) -> tuple[np.ndarray, np.ndarray, list[KittiObject]]:
    """The left-right mirror image of a frame, with the camera that would have taken it.

    image: (H, W, 3) uint8; projection: (3, 4).
    The principal point becomes W - 1 - cx. The x of the fourth column and of all positions changes
    its sign. Yaw becomes pi - yaw, which swaps the left and right corners.
    """
    width = image.shape[1]
    flip_pixels = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    flip_space = np.diag([-1.0, 1.0, 1.0, 1.0])
    found = []
    for item in objects:
        (x0, y0, x1, y1), (x, y, z) = item.box2d, item.center
        box, center = (width - 1 - x1, y0, width - 1 - x0, y1), (-x, y, z)
        yaw, alpha = np.pi - item.yaw, np.pi - item.alpha
        found.append(replace(item, box2d=box, center=center, yaw=yaw, alpha=alpha))
    return np.ascontiguousarray(image[:, ::-1]), flip_pixels @ projection @ flip_space, found


def random_view(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random scale about the input's centre and a shift, as an affine (2, 3) of input pixels."""
    scale = np.exp(rng.uniform(*np.log(SCALE)))
    center = np.array([width / 2, height / 2])
    shift = rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    return np.column_stack((scale * np.eye(2), center - scale * center + shift))


def kept_keypoints(count: int, dropout: float, rng: np.random.Generator) -> Tensor:
    """Keypoint dropout: a (count, 9) bool mask of the keypoints that the GRM may use.

    Each keypoint is dropped with probability `dropout`. At least two stay in each row, because two
    keypoints determine a position.
    """
    chance = rng.random((count, 9))
    second = np.sort(chance, axis=1)[:, -2:-1]
    return torch.from_numpy((chance >= dropout) | (chance >= second))


def recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, brightness and white balance; (H, W, 3) uint8 in and out."""
    gains = rng.uniform(1 - GAIN, 1 + GAIN) * rng.uniform(1 - TINT, 1 + TINT, 3)
    levels = np.arange(256.0)[:, None] * gains + rng.uniform(-OFFSET, OFFSET)
    return cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[:, None])
