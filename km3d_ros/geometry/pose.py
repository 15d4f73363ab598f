"""Rigid transforms between frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.geometry.level import rotation_matrix


@dataclass(frozen=True)
class Pose:
    """A frame in another one. rotation: (3, 3) float64. translation: (3,) float64 in metres."""

    rotation: np.ndarray
    translation: np.ndarray

    def __matmul__(self, other: Pose) -> Pose:
        """The pose of a third frame: this one of b in a, `other` of c in b."""
        moved = self.rotation @ other.translation + self.translation
        return Pose(self.rotation @ other.rotation, moved)

    def inverse(self) -> Pose:
        """The pose of the other frame in this one."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    @staticmethod
    def identity() -> Pose:
        """The pose of a frame in itself."""
        return Pose(np.eye(3), np.zeros(3))

    @staticmethod
    def of(quaternion: Sequence[float], translation: Sequence[float]) -> Pose:
        """From a quaternion x, y, z, w and a translation.

        Raises:
            InputError: the norm of the quaternion is not 1, or the translation is not finite.
        """
        moved = np.array(translation, np.float64)
        if not np.isfinite(moved).all():
            raise InputError(f"translation {tuple(moved.tolist())} is not finite")
        return Pose(rotation_matrix(*quaternion), moved)
