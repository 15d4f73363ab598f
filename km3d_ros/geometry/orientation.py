"""Boxes in the frame of a level or tilted camera, in NumPy (docs/design.md, Conventions)."""

from __future__ import annotations

import cv2
import numpy as np

_CORNERS = np.array([(x, y, z) for z in (-1, 1) for x, y in ((1, 1), (1, -1), (-1, -1), (-1, 1))])
"""(8, 3): signs of the corners along the axes of the box frame."""


def rotations(yaw: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) float64 from box frames (REP 103) into the camera frame.

    Each is levelᵀ R_y(yaw) R_x(90 degrees); z points up along the vertical of the level frame.

    yaw: (...) radians, in the level frame.
    level: (3, 3), `CameraModel.level`.
    """
    yaw = np.asarray(yaw, np.float64)
    cosine, sine, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    axes = ((cosine, zero, -sine), (sine, zero, cosine), (zero, zero - 1, zero))
    upright = np.stack([np.stack(axis, axis=-1) for axis in axes], axis=-1)
    return level.T @ upright


def corner_offsets(size: np.ndarray, yaw: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Corners of boxes relative to their centres (..., 8, 3) float64, in the camera frame.

    size: (..., 3) length, width, height in metres. yaw, level: as in `rotations`.

    >>> corner_offsets(np.array([4.0, 2.0, 1.0]), np.array(0.0), np.eye(3))[:4].tolist()
    [[2.0, 0.5, 1.0], [2.0, 0.5, -1.0], [-2.0, 0.5, -1.0], [-2.0, 0.5, 1.0]]
    """
    local = _CORNERS * np.asarray(size, np.float64)[..., None, :] / 2
    return local @ np.swapaxes(rotations(yaw, level), -1, -2)


def quaternions(yaw: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The same rotations as unit quaternions (..., 4) float64: x, y, z, w."""
    yaw = np.asarray(yaw, np.float64)
    sine, cosine = np.sin(yaw / 2), np.cos(yaw / 2)
    upright = np.stack((cosine, sine, -sine, cosine), axis=-1) * np.sqrt(0.5)
    axis = cv2.Rodrigues(np.ascontiguousarray(level.T))[0][:, 0]
    half = np.linalg.norm(axis) / 2
    x, y, z = axis / 2 * np.sinc(half / np.pi)
    w = np.cos(half)
    # The product of two quaternions as a matrix of the first one.
    return upright @ np.array([(w, -z, y, x), (z, w, -x, y), (-y, x, w, z), (-x, -y, -z, w)]).T
