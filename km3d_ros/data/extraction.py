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
import torch
from tqdm import tqdm

from km3d_ros.data.kitti import write_calibration
from km3d_ros.geometry.camera import CameraModel, unproject

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
    """The rectified image and its projection (3, 4) float64; K does not change."""
    image, camera = frame.image, frame.camera
    shift = np.column_stack((np.eye(3), camera.translation.numpy()))
    projection = camera.intrinsics.numpy() @ shift
    if not camera.is_rectified:
        numbers = (camera.intrinsics, camera.rotation, camera.distortion)
        entries = (tuple(tensor.flatten().tolist()) for tensor in numbers)
        maps = _maps(camera.width, camera.height, camera.distortion_model, *entries)
        image = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    return image, projection


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
    entries: tuple[float, ...],
    rotation: tuple[float, ...],
    lens: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the rectified image with the same K: its place in the raw image."""
    intrinsics, turn = torch.tensor((entries, rotation), dtype=torch.float64).unflatten(1, (3, 3))
    camera = CameraModel.from_intrinsics(intrinsics, width, height, lens, model)
    camera = replace(camera, rotation=turn)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rays = unproject(torch.stack((columns, rows), dim=-1).double(), intrinsics)
    points = torch.cat((rays, torch.ones_like(rays[..., :1])), dim=-1)
    pixels = torch.where(camera.sees(points)[..., None], camera.project(points), _BLACK)
    x, y = pixels.float().unbind(-1)
    return x.contiguous().numpy(), y.contiguous().numpy()
