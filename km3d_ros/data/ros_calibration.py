"""The YAML of a ROS camera calibration, as camera_calibration writes it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from km3d_ros.data.files import read_yaml
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel

_WHOLE = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def is_ros_calibration(path: Path) -> bool:
    """Whether a file is a ROS camera calibration, by its suffix; else it is one of KITTI."""
    return path.suffix in (".yaml", ".yml")


def read_ros_calibration(path: Path) -> SimpleNamespace:
    """A calibration under the names of a CameraInfo.

    Raises:
        InputError: unreadable file, or an entry is missing or no matrix of its size.
    """
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


def write_ros_calibration(path: Path, camera: CameraModel, projection: np.ndarray) -> None:
    """Write the calibration of a raw camera without translation.

    Args:
        path: the file.
        camera: K, lens, and what turns its rays into the rectified frame: R, which is followed by
            the rotation into the level frame.
        projection: (3, 4), P of the rectified images.
    """
    numbers = {
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
            for name, m in numbers.items()
        },
    }
    path.write_text(yaml.safe_dump(entries, sort_keys=False))


def _matrix(entries: dict[str, Any], name: str, count: int | None = None) -> list[float]:
    values = [float(value) for value in entries[name]["data"]]
    if count not in (None, len(values)):
        raise ValueError(f"{name} has {len(values)} numbers, not {count}")
    return values
