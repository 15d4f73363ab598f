"""The level frame of a camera: its own frame without pitch and roll.

The level frame has the same origin as the camera's frame. Its y axis points down, along gravity.
Its z axis is horizontal and has the heading of the optical axis. `frames.mounting` gets pitch and
roll from parameters or from static transforms.

Pitch and roll follow REP 103, right-handed about the left and the forward axis of a vehicle: with
a positive pitch the camera looks down, with a positive roll it leans to the right.
"""

from __future__ import annotations

import math

import numpy as np

from km3d_ros.errors import InputError

MAX_PITCH = math.radians(60)
"""Largest angle between the optical axis and the horizon, in radians."""

_ROUNDING = 1e-6
"""Tolerance of `MAX_PITCH` in radians."""

_UNIT_WITHIN = 0.01
"""Largest error of the norm of a quaternion. Some drivers publish few digits."""


def level_from_angles(pitch: float, roll: float) -> np.ndarray:
    """The rotation (3, 3) float64 from the frame of a camera into its level frame.

    pitch, roll: of the camera in radians.

    Raises:
        InputError: an angle is not finite, or the camera looks too far up or down.

    >>> ahead = level_from_angles(math.radians(30), 0.0) @ (0, 0, 1)
    >>> ahead.round(3).tolist()
    [0.0, 0.5, 0.866]
    """
    for name, angle in (("pitch", pitch), ("roll", roll)):
        if not math.isfinite(angle):
            raise InputError(f"camera {name} must be finite, got {angle}")
    check_pitch(pitch)
    (s, c), (sin_roll, cos_roll) = ((math.sin(a), math.cos(a)) for a in (pitch, roll))
    leaning = np.array([[cos_roll, -sin_roll, 0], [sin_roll, cos_roll, 0], [0, 0, 1]])
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ leaning


def level_from_mount(rotation: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) float64 from the frame of a camera into its level frame.

    rotation: (3, 3), from the frame of the camera into a frame whose z axis points up, such as
        base_link. Its yaw has no effect.

    Raises:
        InputError: the camera looks too far up or down.
    """
    down = -np.asarray(rotation, np.float64)[2]
    check_pitch(_arc_sine(down[2]))
    ahead = np.array([0.0, 0.0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    return np.stack((np.cross(down, ahead), down, ahead))


def angles_of(level: np.ndarray) -> tuple[float, float]:
    """Pitch and roll in radians of a camera with this level rotation (3, 3)."""
    _, (down_x, down_y, down_z), _ = np.asarray(level, np.float64).tolist()
    return _arc_sine(down_z), math.atan2(down_x, down_y)


def rotation_matrix(x: float, y: float, z: float, w: float) -> np.ndarray:
    """The rotation (3, 3) float64 of a quaternion.

    Raises:
        InputError: its norm is not 1.
    """
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(norm - 1) < _UNIT_WITHIN:  # refuses NaN, too
        raise InputError(f"quaternion ({x:g}, {y:g}, {z:g}, {w:g}) is no rotation: norm {norm:g}")
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def check_pitch(pitch: float) -> None:
    """Raise InputError if the optical axis is more than `MAX_PITCH` above or below the horizon.

    pitch: angle in radians of the optical axis below the horizon.
    """
    if abs(pitch) > MAX_PITCH + _ROUNDING:
        where = "below" if pitch > 0 else "above"
        raise InputError(
            f"the camera looks {math.degrees(abs(pitch)):.0f}° {where} the horizon, expected at "
            f"most {math.degrees(MAX_PITCH):.0f}°: is it an optical frame (z ahead, y down)?"
        )


def _arc_sine(value: float) -> float:
    return math.asin(min(max(value, -1.0), 1.0))
