"""Unlabelled images from whatever was recorded: KITTI folders, plain folders, bags."""

from __future__ import annotations

from pathlib import Path

from km3d_ros.bag_frames import extract_bag, is_bag
from km3d_ros.data.unlabelled import UnlabelledFrames, image_frames, kitti_frames
from km3d_ros.errors import InputError


def open_unlabelled(
    path: Path,
    calibration: Path | None,
    cache: Path,
    split: str | None = None,
    topic: str | None = None,
) -> UnlabelledFrames:
    """Open a source of images without labels; labels that it may have are not looked at.

    Args:
        path: a KITTI folder (image_2 and calib), a folder of images, or a bag (a rosbag2 folder
            or one `.mcap` or `.db3` file).
        calibration: camera file, a ROS camera calibration or a KITTI calibration with P2, for a
            folder of images, or for a bag (used instead of its CameraInfo).
        cache: folder for what is extracted from bags and rectified.
        split: name of a file in ImageSets of a KITTI folder; all images where None.
        topic: image topic of a bag; the only one where None.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if is_bag(path):
        return kitti_frames(extract_bag(path, topic, calibration, cache))
    if not path.is_dir():
        raise InputError(
            f"{path}: neither a folder of images nor a bag (.mcap, .db3, or a folder)"
        )
    if any((path / part / "image_2").is_dir() for part in (".", "training", "testing")):
        return kitti_frames(path, split)
    if calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    return image_frames(path, calibration, cache)
