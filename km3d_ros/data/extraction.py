"""Images of a bag as a KITTI-format folder of level pinhole images."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.level_view import level_pinhole, level_projection
from km3d_ros.geometry.camera import CameraModel

JPEG_QUALITY = 95


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
                image = level_pinhole(camera, projection).warp(image)
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
