"""Frames of raw and tilted cameras as a level pinhole sees them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, with_depth
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.geometry.virtual_camera import VirtualCamera

_NEAREST = 0.1
"""Smallest depth in metres of corners that have a pixel."""


def level_projection(camera: CameraModel) -> np.ndarray:
    """The projection (3, 4) float64 of a level pinhole for the images of a camera.

    The pinhole has the K of the camera. If the camera does not look level, the principal point is
    moved so that the middle of the image remains there.
    """
    intrinsics = camera.intrinsics.copy()
    if not camera.is_level:
        middle = (camera.size - 1) / 2
        x, y, z = camera.level @ with_depth(camera.rays(middle))
        intrinsics[:2, 2] += middle - (intrinsics @ (x / z, y / z, 1))[:2]
    return intrinsics @ np.column_stack((np.eye(3), camera.level @ camera.translation))


def level_view(frame: Frame) -> tuple[np.ndarray, list[KittiObject]]:
    """A frame as the pinhole of its projection sees it: image and objects.

    The image is (height, width, 3) uint8. Objects of which it shows nothing are left out.

    Raises:
        InputError: the image cannot be read, or has not the size of its camera.
    """
    image, camera = read_image(frame.image_path), frame.camera
    if camera is None:
        return image, frame.objects
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        expected = f"{camera.width}x{camera.height} as of its calibration"
        raise InputError(f"{frame.image_path}: {width}x{height} pixels, expected {expected}")
    view = level_pinhole(camera, frame.projection)
    return view.warp(image), _objects_in(view, frame)


def level_pinhole(camera: CameraModel, projection: np.ndarray) -> VirtualCamera:
    """The pinhole of a projection (3, 4) as a view of a camera, with the size of its images."""
    return _with_k(camera, tuple(projection[:, :3].flatten().tolist()))


@lru_cache(maxsize=4)
def _with_k(camera: CameraModel, numbers: tuple[float, ...]) -> VirtualCamera:
    """A virtual camera of the size of the camera, with the nine numbers of K; it keeps its map."""
    matrix = np.reshape(numbers, (3, 3))
    return VirtualCamera(camera, camera.width, camera.height, matrix, affine=None)


def _objects_in(view: VirtualCamera, frame: Frame) -> list[KittiObject]:
    """The objects of a frame, with 2D boxes in a view of it."""
    pinhole = CameraModel.from_projection(frame.projection, view.width, view.height)
    boxes = np.array([item.box2d for item in frame.objects]).reshape(-1, 4)
    found = []
    for item, box in zip(frame.objects, view.boxes_from_camera(boxes), strict=True):
        if np.isnan(box).any():
            continue
        if item.has_box3d:
            box = _narrowed(box, item, pinhole)
        found.append(replace(item, box2d=tuple(box.tolist())))
    return found


def _narrowed(box: np.ndarray, item: KittiObject, pinhole: CameraModel) -> np.ndarray:
    """The part of a 2D box (4,) that shows the 3D box; all of it if that is not known.

    The 2D box of a rotated view is too large: it is the upright box around a leaning one.
    """
    corners = item.center + corner_offsets(np.array(item.size), np.array(item.yaw), np.eye(3))
    if (corners + pinhole.translation)[:, 2].min() < _NEAREST:
        return box
    pixels = pinhole.project(corners)
    low, high = np.maximum(box[:2], pixels.min(0)), np.minimum(box[2:], pixels.max(0))
    return np.concatenate((low, high)) if (low < high).all() else box
