"""Images without labels, each with its camera: KITTI folders, plain folders and bags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from km3d_ros.data.calibration import read_camera
from km3d_ros.data.extraction import CameraImage, extract_once, fingerprint, level_projection
from km3d_ros.data.image_file import check_one_size, read_image
from km3d_ros.data.kitti import Frame, find_images, list_images, open_frame
from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting


def open_unlabelled(
    path: Path,
    calibration: Path | None,
    cache: Path,
    topic: str | None = None,
    mounting: Mounting | None = None,
) -> list[Frame]:
    """Open a source of images. Labels that it may have are not read.

    path: a KITTI folder (image_2 and calib), a folder of images, or a bag (a rosbag2 folder or one
        `.mcap`, `.db3` or ROS 1 `.bag` file).
    calibration: as for `read_camera`; of a folder of images, or of a bag (not its CameraInfo).
    cache: folder for what is extracted from bags and rectified.
    topic: image topic of a bag; None for the only one.
    mounting: how the cameras are mounted; None: they look level.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    mounting = mounting or Mounting()
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if _is_bag(path):
        # The library that reads bags is not needed for anything else.
        from km3d_ros.data.bag_images import extract_bag

        return kitti_frames(extract_bag(path, topic, calibration, cache, mounting))
    if mounting.base_frame:
        raise InputError(f"{path}: base frame {mounting.base_frame} needs the transforms of a bag")
    if not path.is_dir():
        raise InputError(
            f"{path}: neither a folder of images nor a bag (.mcap, .db3, .bag, or a folder)"
        )
    level = mounting.of("").level
    if any((path / part / "image_2").is_dir() for part in (".", "training", "testing")):
        frames = kitti_frames(path)
        if np.array_equal(level, np.eye(3)):
            return frames
        files = [frame.image_path for frame in frames]
        images = partial(_framed, frames, level)
    elif calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    else:
        files = list_images(path)
        check_one_size(files)
        images = partial(_photographed, files, calibration, level)
        first = next(images())
        if first.camera.is_rectified and first.camera.is_level:
            projection = level_projection(first.camera)
            return [Frame(file.stem, file, projection) for file in files]
        files = [*files, calibration]
    key = fingerprint(path.resolve().name, files, mounting.settings)
    return kitti_frames(extract_once(cache, key, images))


def kitti_frames(root: Path) -> list[Frame]:
    """The frames of a KITTI folder, labelled or not; root as for `find_images`.

    Raises:
        InputError: a folder or a calibration is missing or not readable.
    """
    return [open_frame(path) for path in find_images(root, None, ("calib",))]


def _framed(frames: list[Frame], level: np.ndarray) -> Iterator[CameraImage]:
    for frame in frames:
        image = read_image(frame.image_path)
        yield CameraImage(frame.name, image, replace(frame.camera_of(image), level=level))


def _photographed(
    files: list[Path], calibration: Path, level: np.ndarray
) -> Iterator[CameraImage]:
    for path in files:
        image = read_image(path)
        camera = read_camera(calibration, image.shape[1], image.shape[0])
        yield CameraImage(path.stem, image, replace(camera, level=level))


def _is_bag(path: Path) -> bool:
    """Whether a path is an `.mcap`, `.db3` or `.bag` file, or a rosbag2 folder."""
    return path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").exists()
