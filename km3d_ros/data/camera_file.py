"""The camera of a folder of images, from one file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from km3d_ros.data.files import read_yaml
from km3d_ros.data.kitti import read_projection
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel

_WHOLE = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def read_camera(
    path: Path, width: int, height: int, rectified: bool = False, projection: str = "P2"
) -> CameraModel:
    """Read the camera of images of this size.

    Args:
        path: a ROS camera calibration (.yaml, .yml; as camera_calibration writes it), or a KITTI
            calibration of rectified images.
        width, height: size of the images in pixels.
        rectified: whether the images that a ROS calibration belongs to are rectified (its
            projection_matrix is used) or raw (its camera_matrix, distortion and rectification).
        projection: name of the projection that is used of a KITTI calibration.

    Raises:
        InputError: unreadable file, or not of a camera with images of this size.
    """
    if not is_ros_calibration(path):
        matrix = read_projection(path, projection, (width, height))
        try:
            return CameraModel.from_projection(matrix, width, height)
        except InputError as error:
            raise InputError(f"{path}: {projection}: {error}") from None
    info = _read_ros(path)
    if (info.width, info.height) != (width, height):
        raise InputError(
            f"{path}: calibrated for images of {info.width}x{info.height}, got {width}x{height}"
        )
    try:
        return CameraModel.from_camera_info(info, rectified)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def is_ros_calibration(path: Path) -> bool:
    """Whether a file is a ROS camera calibration, by its suffix; else it is one of KITTI."""
    return path.suffix in (".yaml", ".yml")


def _read_ros(path: Path) -> SimpleNamespace:
    """A ROS camera calibration under the names of a CameraInfo."""
    entries = read_yaml(path)
    try:
        return SimpleNamespace(
            width=int(entries["image_width"]),
            height=int(entries["image_height"]),
            distortion_model=str(entries["distortion_model"]),
            k=_matrix(entries, "camera_matrix", 9),
            d=_matrix(entries, "distortion_coefficients"),
            r=_matrix(entries, "rectification_matrix", 9),
            p=_matrix(entries, "projection_matrix", 12),
            roi=_WHOLE,
            binning_x=0,
            binning_y=0,
        )
    except KeyError as error:
        raise InputError(f"{path}: no {error.args[0]} in this ROS camera calibration") from None
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a ROS camera calibration: {error}") from None


def _matrix(entries: dict[str, Any], name: str, count: int | None = None) -> list[float]:
    values = [float(value) for value in entries[name]["data"]]
    if count not in (None, len(values)):
        raise ValueError(f"{name} has {len(values)} numbers, not {count}")
    return values
