"""The camera of a folder of images, from one file."""

from __future__ import annotations

from pathlib import Path

from km3d_ros.data.kitti_calibration import read_projection
from km3d_ros.data.ros_calibration import is_ros_calibration, read_ros_calibration
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel


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
    info = read_ros_calibration(path)
    if (info.width, info.height) != (width, height):
        raise InputError(
            f"{path}: calibrated for images of {info.width}x{info.height}, got {width}x{height}"
        )
    try:
        return CameraModel.from_camera_info(info, rectified)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
