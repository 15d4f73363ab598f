"""Calibrations of the frames of a folder: KITTI's text files, or ROS's YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from km3d_ros.data.files import numbers, read_text
from km3d_ros.data.ros_calibration import is_ros_calibration, read_ros_calibration
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, check_intrinsics

PROJECTIONS = ("P0", "P1", "P2", "P3")
"""Projections of a KITTI calibration: those of image_0 to image_3."""
_SHORTEST_FOCAL = 10.0
"""Pixels; a focal length below it is given in image widths or metres."""
_PROJECTION_FORM = "fx 0 cx tx 0 fy cy ty 0 0 1 tz"


def read_projection(
    path: str | Path, name: str = "P2", size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read one projection matrix of a calibration file.

    Args:
        path: calibration of the object benchmark (`P2: ...`) or of the raw data
            (calib_cam_to_cam.txt, `P_rect_02: ...`).
        name: one of `PROJECTIONS`.
        size: width and height of the images, which calib_cam_to_cam.txt has as well
            (`S_rect_02: ...`).

    Returns:
        (3, 4) float64, pixels from metres in the rectified reference camera frame.

    Raises:
        InputError: unreadable file, no such matrix, not twelve finite numbers, or not those of a
            rectified camera in pixels, K [I | t]; or the calibration of images of another size.
    """
    names = (name, f"P_rect_0{name[1:]}")
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, _, values = line.partition(":")
        if size and key.strip() == f"S_rect_0{name[1:]}":
            _check_size(numbers(values.split(), f"{path}:{number}"), size, f"{path}:{number}")
        if key.strip() in names:
            return _parse_projection(values.split(), name, f"{path}:{number}")
    raise InputError(
        f'{path}: no {name} in this calibration file; expected a line "{name}: {_PROJECTION_FORM}"'
    )


def find_calibration(folder: Path, name: str) -> Path:
    """The calibration of a frame: NAME.yaml of ROS if there is one, else NAME.txt of KITTI."""
    path = folder / "calib" / f"{name}.yaml"
    return path if path.exists() else path.with_suffix(".txt")


def read_calibration(path: Path) -> tuple[np.ndarray, CameraModel | None]:
    """`Frame.projection` and `Frame.camera` from a calibration of KITTI or ROS.

    Raises:
        InputError: unreadable, or not of a usable camera.
    """
    if not is_ros_calibration(path):
        return read_projection(path), None
    info = read_ros_calibration(path)
    try:
        pinhole, camera = (CameraModel.from_camera_info(info, rectified) for rectified in (1, 0))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return pinhole.projection, camera


def write_calibration(path: str | Path, projection: np.ndarray) -> None:
    """Write a calibration file whose P2 is `projection` (3, 4); exact in float64."""
    numbers = " ".join(repr(float(value)) for value in np.asarray(projection).reshape(12))
    Path(path).write_text(f"P2: {numbers}\n")


def _parse_projection(columns: list[str], name: str, where: str) -> np.ndarray:
    if len(columns) != 12:
        raise InputError(
            f"{where}: {name} has {len(columns)} numbers, not 12; expected {_PROJECTION_FORM}"
        )
    projection = np.array(numbers(columns, where)).reshape(3, 4)
    try:
        check_intrinsics(projection[:, :3])
    except InputError as error:
        raise InputError(
            f"{where}: {name} is not the K [I | t] of a rectified camera: {error}; expected "
            f"{_PROJECTION_FORM}"
        ) from None
    shortest = min(projection[0, 0], projection[1, 1])
    if shortest < _SHORTEST_FOCAL:
        raise InputError(f"{where}: {name} has a focal length of {shortest:g}, expected pixels")
    return projection


def _check_size(calibrated: list[float], size: tuple[int, int], where: str) -> None:
    if calibrated != list(size):
        expected = "x".join(f"{side:g}" for side in calibrated)
        raise InputError(
            f"{where}: for rectified images of {expected} pixels, got {size[0]}x{size[1]}"
        )
