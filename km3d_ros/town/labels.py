"""KITTI labels from the 3D box and the visible part of each object."""

from __future__ import annotations

from itertools import product

import numpy as np

from km3d_ros.data.class_names import DONT_CARE
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.town.faces import Pose
from km3d_ros.town.projection import NEAR, Camera, clip_hull
from km3d_ros.town.scene import Array

NEAREST, FARTHEST = 2.0, 75.0
"""Range of z of labelled objects in metres. Objects outside it become DontCare regions."""
HIDDEN = 0.08
"""Least visible part of a labelled object. Below it, the object becomes a DontCare region."""
_CORNERS = np.array(list(product((0.5, -0.5), (0.5, -0.5), (0.0, 1.0))))


def label(name: str, pose: Pose, index: int, camera: Camera, visible: float) -> KittiObject | None:
    """Label of one object, or None if no part of it is visible in the image.

    visible: unoccluded part of the silhouette inside the image, 0 to 1.
    """
    owner = np.full(8, index)
    corners = pose.turn(_CORNERS * pose.size[index], owner) + pose.bottom(owner)
    corners = clip_hull(corners, NEAR)
    if visible <= 0 or not len(corners):
        return None
    found = box_in_image(camera.project(corners), camera.width, camera.height)
    if found is None:
        return None
    box, inside = found
    if visible < HIDDEN or not NEAREST <= pose.z[index] <= FARTHEST:
        return KittiObject.of_box2d(DONT_CARE, box)
    length, width, height = pose.size[index].tolist()
    x, z = float(pose.x[index]), float(pose.z[index])
    yaw = _wrap(float(pose.yaw[index]))
    return KittiObject(
        class_name=name,
        truncation=1 - inside,
        occlusion=occlusion_level(visible),
        alpha=_wrap(yaw - np.arctan2(x, z)),
        box2d=box,
        size=(length, width, height),
        center=(x, float(pose.y[index]) - height / 2, z),
        yaw=yaw,
    )


def box_in_image(
    pixels: Array, width: int, height: int
) -> tuple[tuple[float, float, float, float], float] | None:
    """The extent of pixels (n, 2) inside an image: x0, y0, x1, y1, and its part of the whole.

    None if less than half a pixel is inside.
    """
    low, high = pixels.min(0), pixels.max(0)
    inner_low, inner_high = np.clip((low, high), 0, (width - 1.0, height - 1.0))
    if (inner_high - inner_low < 0.5).any():
        return None
    inside = np.prod(inner_high - inner_low) / np.prod(high - low)
    return (*inner_low.tolist(), *inner_high.tolist()), float(inside)


def occlusion_level(visible: float) -> int:
    """Level as in KITTI: 0 visible, 1 partly occluded, 2 largely occluded, 3 hardly visible."""
    return int(visible < 0.8) + int(visible < 0.5) + int(visible < 0.2)


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
