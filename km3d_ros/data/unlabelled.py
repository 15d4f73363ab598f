"""Images without labels, each with its camera: KITTI folders, plain folders and bags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from km3d_ros.data.calibration import read_camera
from km3d_ros.data.image_file import check_one_size, read_image_size
from km3d_ros.data.kitti import Frame, find_images, list_images, open_frame
from km3d_ros.data.level_view import level_projection
from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.geometry.camera import CameraModel


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
    calibration: as for `read_camera`, of a folder of images. For a bag it replaces the CameraInfo.
    cache: folder for the images of bags.
    topic: image topic of a bag; None for the only one.
    mounting: how the cameras are mounted; None: they look level.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    mounting = mounting or Mounting()
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").exists():
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
        is_level = np.array_equal(level, np.eye(3))
        return frames if is_level else [_levelled(frame, level) for frame in frames]
    if calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    files = list_images(path)
    camera = replace(read_camera(calibration, *check_one_size(files)), level=level)
    return [_frame(file, camera) for file in files]


def kitti_frames(root: Path) -> list[Frame]:
    """The frames of a KITTI folder, labelled or not; root as for `find_images`.

    Raises:
        InputError: a folder or a calibration is missing or not readable.
    """
    return [open_frame(path) for path in find_images(root, None, ("calib",))]


def _levelled(frame: Frame, level: np.ndarray) -> Frame:
    size = read_image_size(frame.image_path)
    camera = frame.camera or CameraModel.from_projection(frame.projection, *size)
    return _frame(frame.image_path, replace(camera, level=level))


def _frame(image: Path, camera: CameraModel) -> Frame:
    is_pinhole = camera.is_rectified and camera.is_level
    projection = level_projection(camera)
    return Frame(image.stem, image, projection, camera=None if is_pinhole else camera)
