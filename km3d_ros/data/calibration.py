"""Calibration files of cameras: KITTI text, or the YAML of ROS camera_calibration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from km3d_ros.data.files import numbers, read_text, read_yaml
from km3d_ros.errors import InputError, naming
from km3d_ros.geometry.camera import CameraModel, check_intrinsics

PROJECTIONS = ("P0", "P1", "P2", "P3")
"""Projections of a KITTI calibration: those of image_0 to image_3."""
_SHORTEST_FOCAL = 10.0
"""Pixels. A shorter focal length is one in image widths or metres."""
_PROJECTION_FORM = "fx 0 cx tx 0 fy cy ty 0 0 1 tz"
_WHOLE = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def read_camera(
    path: Path, width: int, height: int, rectified: bool = False, projection: str = "P2"
) -> CameraModel:
    """Read the camera of images of `width`×`height` pixels.

    rectified: use the projection_matrix of a ROS calibration, instead of its camera_matrix,
        distortion and rectification.
    projection: one of `PROJECTIONS`, for a KITTI calibration.

    Raises:
        InputError: unreadable file, or not of a camera with images of this size.
    """
    if not is_ros_calibration(path):
        matrix = read_projection(path, projection, (width, height))
        with naming(f"{path}: {projection}"):
            return CameraModel.from_projection(matrix, width, height)
    info = _read_ros(path)
    if (info.width, info.height) != (width, height):
        raise InputError(
            f"{path}: calibrated for images of {info.width}x{info.height}, got {width}x{height}"
        )
    with naming(path):
        return CameraModel.from_camera_info(info, rectified)


def is_ros_calibration(path: Path) -> bool:
    """Whether a file is a ROS calibration, by its suffix. Other files are KITTI calibrations."""
    return path.suffix in (".yaml", ".yml")


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
    info = _read_ros(path)
    with naming(path):
        pinhole, camera = (CameraModel.from_camera_info(info, rectified) for rectified in (1, 0))
    return pinhole.projection, camera


def read_projection(
    path: str | Path, name: str = "P2", size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read one projection matrix of a KITTI calibration.

    Both the object benchmark's format (`P2: ...`) and that of the raw data (calib_cam_to_cam.txt,
    `P_rect_02: ...`) are read.

    name: one of `PROJECTIONS`.
    size: width and height of the images, compared with `S_rect_02: ...` of the raw data.

    Returns:
        (3, 4) float64, pixels from metres in the rectified reference camera frame.

    Raises:
        InputError: unreadable file, no such matrix, not twelve finite numbers, or not those of a
            rectified camera in pixels, K [I | t]; or the calibration of images of another size.
    """
    names = (name, f"P_rect_0{name[1:]}")
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, _, values = line.partition(":")
        where = f"{path}:{number}"
        if size and key.strip() == f"S_rect_0{name[1:]}":
            calibrated = numbers(values.split(), where)
            if calibrated != list(size):
                expected = "x".join(f"{side:g}" for side in calibrated)
                raise InputError(
                    f"{where}: for rectified images of {expected} pixels, got {size[0]}x{size[1]}"
                )
        if key.strip() in names:
            return _parse_projection(values.split(), name, where)
    raise InputError(
        f'{path}: no {name} in this calibration file; expected a line "{name}: {_PROJECTION_FORM}"'
    )


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


def _read_ros(path: Path) -> SimpleNamespace:
    """A ROS calibration with the field names of a CameraInfo."""
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


def write_calibration(path: str | Path, projection: np.ndarray) -> None:
    """Write a KITTI calibration whose P2 is `projection` (3, 4); exact in float64."""
    values = " ".join(repr(float(value)) for value in np.asarray(projection).reshape(12))
    Path(path).write_text(f"P2: {values}\n")


def write_ros_calibration(path: Path, camera: CameraModel, projection: np.ndarray) -> None:
    """Write the ROS calibration of a raw camera without translation.

    Its rectification_matrix leads into the level frame. Its projection_matrix is `projection`
    (3, 4), that of the level image without distortion.
    """
    matrices = {
        "camera_matrix": camera.intrinsics,
        "distortion_coefficients": camera.distortion[None],
        "rectification_matrix": camera.level @ camera.rotation,
        "projection_matrix": projection,
    }
    entries = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": path.stem,
        "distortion_model": camera.distortion_model or "plumb_bob",
        **{
            name: {"rows": len(m), "cols": m.shape[1], "data": m.flatten().tolist()}
            for name, m in matrices.items()
        },
    }
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
