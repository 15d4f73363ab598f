"""Images without labels, each with its camera: KITTI folders, plain folders and bags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from km3d_ros.data.camera_file import read_camera
from km3d_ros.data.extraction import CameraImage, extract_once, fingerprint, rectified
from km3d_ros.data.image_file import check_one_size, read_image
from km3d_ros.data.kitti import Frame, find_images, list_images
from km3d_ros.data.kitti_calibration import find_calibration, read_calibration
from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting


def open_unlabelled(
    path: Path,
    calibration: Path | None,
    cache: Path,
    topic: str | None = None,
    mounting: Mounting | None = None,
) -> list[Frame]:
    """Open a source of images without labels; labels that it may have are not looked at.

    Args:
        path: a KITTI folder (image_2 and calib), a folder of images, or a bag (a rosbag2 folder
            or one `.mcap`, `.db3` or ROS 1 `.bag` file).
        calibration: camera file, a ROS camera calibration or a KITTI calibration with P2, for a
            folder of images, or for a bag (used instead of its CameraInfo).
        cache: folder for what is extracted from bags and rectified.
        topic: image topic of a bag; the only one where None.
        mounting: how the cameras are mounted; None: they look level.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if _is_bag(path):
        # The library that reads bags is not needed for anything else.
        from km3d_ros.data.bag_images import extract_bag

        return kitti_frames(extract_bag(path, topic, calibration, cache, mounting))
    if mounting and mounting.base_frame:
        raise InputError(f"{path}: base frame {mounting.base_frame} needs the transforms of a bag")
    if not path.is_dir():
        raise InputError(
            f"{path}: neither a folder of images nor a bag (.mcap, .db3, .bag, or a folder)"
        )
    if any((path / part / "image_2").is_dir() for part in (".", "training", "testing")):
        return _levelled(kitti_frames(path), path, cache, mounting)
    if calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    return image_frames(path, calibration, cache, mounting)


def kitti_frames(root: Path) -> list[Frame]:
    """The frames of a KITTI folder, labelled or not; root as for `find_images`.

    Raises:
        InputError: a folder or a calibration is missing or not readable.
    """
    return [
        Frame(path.stem, path, projection, camera=camera)
        for path in find_images(root, None, ("calib",))
        for projection, camera in [read_calibration(find_calibration(path.parents[1], path.stem))]
    ]


def _levelled(
    frames: list[Frame], root: Path, cache: Path, mounting: Mounting | None
) -> list[Frame]:
    """The frames of a KITTI folder as level cameras see them."""
    level = (mounting or Mounting()).of("").level
    if np.array_equal(level, np.eye(3)):
        return frames

    def images() -> Iterator[CameraImage]:
        for frame in frames:
            image = read_image(frame.image_path)
            yield CameraImage(frame.name, image, replace(frame.camera_of(image), level=level))

    key = fingerprint(root.resolve().name, (f.image_path for f in frames), mounting.settings)
    return kitti_frames(extract_once(cache, key, images))


def image_frames(
    folder: Path, calibration: Path, cache: Path, mounting: Mounting | None = None
) -> list[Frame]:
    """The images of a folder, all taken by the camera that one file describes.

    Args:
        folder: images of one size.
        calibration: as for `read_camera`; the images are raw where it has lens distortion or a
            rotation.
        cache: folder that keeps the images that had to be turned or straightened.
        mounting: how the camera is mounted; None: it looks level.

    Raises:
        InputError: no images, or an image or the calibration is not readable or does not fit.
    """
    mounting = mounting or Mounting()
    level = mounting.of("").level
    images = list_images(folder)
    check_one_size(images)
    first = next(_read(images[:1], calibration, level))
    if first.camera.is_rectified and np.array_equal(level, np.eye(3)):
        _, projection = rectified(first)
        return [Frame(path.stem, path, projection) for path in images]
    key = fingerprint(folder.resolve().name, (*images, calibration), mounting.settings)
    return kitti_frames(extract_once(cache, key, lambda: _read(images, calibration, level)))


def _read(images: list[Path], calibration: Path, level: np.ndarray) -> Iterator[CameraImage]:
    for path in images:
        image = read_image(path)
        camera = read_camera(calibration, image.shape[1], image.shape[0])
        yield CameraImage(path.stem, image, replace(camera, level=level))


def _is_bag(path: Path) -> bool:
    """Whether a path is an `.mcap`, `.db3` or `.bag` file, or a rosbag2 folder."""
    return path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").exists()
