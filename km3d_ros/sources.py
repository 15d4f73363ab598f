"""Unlabelled images from whatever was recorded: KITTI folders, plain folders, bags."""

from __future__ import annotations

from pathlib import Path

from km3d_ros.data.unlabelled import UnlabelledFrames, image_frames, kitti_frames
from km3d_ros.errors import InputError


def open_unlabelled(
    path: Path,
    calibration: Path | None,
    cache: Path,
    topic: str | None = None,
) -> UnlabelledFrames:
    """Open a source of images without labels; labels that it may have are not looked at.

    Args:
        path: a KITTI folder (image_2 and calib), a folder of images, or a bag (a rosbag2 folder
            or one `.mcap` or `.db3` file).
        calibration: camera file, a ROS camera calibration or a KITTI calibration with P2, for a
            folder of images, or for a bag (used instead of its CameraInfo).
        cache: folder for what is extracted from bags and rectified.
        topic: image topic of a bag; the only one where None.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if _is_bag(path):
        # The library that reads bags is not needed for anything else.
        from km3d_ros.bag_frames import extract_bag

        return kitti_frames(extract_bag(path, topic, calibration, cache))
    if not path.is_dir():
        raise InputError(
            f"{path}: neither a folder of images nor a bag (.mcap, .db3, or a folder)"
        )
    if any((path / part / "image_2").is_dir() for part in (".", "training", "testing")):
        return kitti_frames(path)
    if calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    return image_frames(path, calibration, cache)


def _is_bag(path: Path) -> bool:
    """Whether a path is an `.mcap` or `.db3` file, or a rosbag2 folder."""
    return path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").exists()
