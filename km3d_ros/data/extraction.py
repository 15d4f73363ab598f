"""Images as a level pinhole sees them: of a frame, or written to a KITTI-format folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, with_depth
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.geometry.virtual_camera import VirtualCamera

JPEG_QUALITY = 95
_NEAREST = 0.1
"""Smallest depth in metres of corners that have a pixel."""


class CameraImage(NamedTuple):
    """An image (height, width, 3) uint8 BGR and its camera, which has the same size."""

    name: str
    image: np.ndarray
    camera: CameraModel


def extract_once(cache: Path, key: str, frames: Callable[[], Iterable[CameraImage]]) -> Path:
    """The folder `cache/key` with image_2 and calib; writes it if it does not exist.

    If several processes ask for the same folder, one writes it and the others wait.
    """
    folder = cache / key
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            write_folder(folder, frames())
    return folder


def write_folder(folder: Path, frames: Iterable[CameraImage]) -> None:
    """Write image_2 and calib into a folder that is new or empty.

    The folder appears when it is complete. Until then the frames are in a hidden folder beside it.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for name in ("image_2", "calib"):
            (part / name).mkdir(parents=True)
        for frame in tqdm(frames, desc="Extracting", unit="frame", disable=None):
            camera, image, projection = frame.camera, frame.image, level_projection(frame.camera)
            if not (camera.is_rectified and camera.is_level):
                image = _pinhole(camera, projection).warp(image)
            jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
            (part / "image_2" / f"{frame.name}.jpg").write_bytes(jpeg.tobytes())
            write_calibration(part / "calib" / f"{frame.name}.txt", projection)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def fingerprint(name: str, files: Iterable[Path], settings: Sequence[object]) -> str:
    """A folder name that changes with the files (path, size, date) and the settings."""
    states = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    digest = hashlib.sha256(json.dumps([states, settings]).encode()).hexdigest()
    return f"{name}-{digest[:12]}"


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
    view = _pinhole(camera, frame.projection)
    return view.warp(image), _objects_in(view, frame)


def _pinhole(camera: CameraModel, projection: np.ndarray) -> VirtualCamera:
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
