"""Writing frames as a KITTI-format folder of pinhole images, for random access in training."""

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

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame, write_calibration
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, unproject, with_depth

JPEG_QUALITY = 95
_BLACK = -2.0
"""A pixel outside every raw image."""


class CameraImage(NamedTuple):
    """An image (height, width, 3) uint8 BGR and its camera, which has the same size."""

    name: str
    image: np.ndarray
    camera: CameraModel


def extract_once(cache: Path, key: str, frames: Callable[[], Iterable[CameraImage]]) -> Path:
    """The folder `cache/key` with image_2 and calib; writes it if it does not exist.

    The folder appears when it is complete. An interrupted extraction starts again. If several
    processes ask for the same folder, one writes it and the others wait.
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
        _write(part, frames)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def fingerprint(
    name: str, files: Iterable[Path], settings: Sequence[str | int | None] = ()
) -> str:
    """A folder name that changes with the files (path, size, date) and the settings."""
    states = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    digest = hashlib.sha256(json.dumps([states, settings]).encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def rectified(frame: CameraImage) -> tuple[np.ndarray, np.ndarray]:
    """The image as a level pinhole sees it, and its projection (3, 4) float64.

    The pinhole has the K of the camera. If the camera does not look level, the principal point is
    moved so that the middle of the image remains there.
    """
    camera, projection = _in_level_frame(frame.camera), level_projection(frame.camera)
    if camera.is_rectified:
        return frame.image, projection
    return _straightened(frame.image, camera, projection), projection


def level_projection(camera: CameraModel) -> np.ndarray:
    """The projection (3, 4) float64 of the pinhole of `rectified`."""
    turned = _in_level_frame(camera)
    intrinsics = camera.intrinsics.copy()
    if not camera.is_level:
        middle = (camera.size - 1) / 2
        intrinsics[:2, 2] += middle - (intrinsics @ with_depth(turned.rays(middle)))[:2]
    return intrinsics @ np.column_stack((np.eye(3), turned.translation))


def level_view(frame: Frame) -> np.ndarray:
    """The image of a frame (height, width, 3) uint8 as the pinhole of its projection sees it.

    Raises:
        InputError: it cannot be read, or has not the size of its camera.
    """
    image, camera = read_image(frame.image_path), frame.camera
    if camera is None:
        return image
    if image.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f"{frame.image_path}: {image.shape[1]}x{image.shape[0]} pixels, expected "
            f"{camera.width}x{camera.height} as of its calibration"
        )
    return _straightened(image, camera, frame.projection)


def _straightened(image: np.ndarray, camera: CameraModel, projection: np.ndarray) -> np.ndarray:
    """The image of a camera as a pinhole with this projection sees it, black where it ends."""
    numbers = (projection[:, :3], camera.intrinsics, camera.rotation, camera.distortion)
    entries = (tuple(matrix.flatten().tolist()) for matrix in numbers)
    maps = _maps(camera.width, camera.height, camera.distortion_model, *entries)
    return cv2.remap(image, *maps, cv2.INTER_LINEAR)


def _in_level_frame(camera: CameraModel) -> CameraModel:
    """The same camera, with positions in its level frame."""
    rotation, translation = camera.level @ camera.rotation, camera.level @ camera.translation
    return replace(camera, rotation=rotation, translation=translation, level=np.eye(3))


def _write(folder: Path, frames: Iterable[CameraImage]) -> None:
    for name in ("image_2", "calib"):
        (folder / name).mkdir(parents=True)
    for frame in tqdm(frames, desc="Extracting", unit="frame", disable=None):
        image, projection = rectified(frame)
        jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
        (folder / "image_2" / f"{frame.name}.jpg").write_bytes(jpeg.tobytes())
        write_calibration(folder / "calib" / f"{frame.name}.txt", projection)


@lru_cache(maxsize=1)
def _maps(
    width: int,
    height: int,
    model: str,
    target: tuple[float, ...],
    entries: tuple[float, ...],
    rotation: tuple[float, ...],
    lens: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a rectified image with K `target`: its place in the raw image."""
    pinhole, intrinsics, turn = np.array((target, entries, rotation)).reshape(3, 3, 3)
    camera = CameraModel.from_intrinsics(intrinsics, width, height, lens, model)
    camera = replace(camera, rotation=turn)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    directions = with_depth(unproject(pixels, pinhole)) @ turn
    pixels = np.where(camera.images(directions)[..., None], camera.to_pixels(directions), _BLACK)
    x, y = np.moveaxis(pixels.astype(np.float32), -1, 0)
    return x, y
