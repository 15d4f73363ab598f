"""The ground on which the objects stand, learned from their boxes.

An error of the distance moves a box along its ray, and so above or below the ground. The height of
the ground therefore corrects the distance, unless the ray is nearly parallel to the ground.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from km3d_ros.tracking.measurements import Measurements

Array = np.ndarray

UNKNOWN_HEIGHT = 30.0
"""Standard deviation of the height of the ground before the first detection, metres."""
UNKNOWN_SLOPE = 0.03
"""Standard deviation of its slope, metres per metre."""
HEIGHT_CHANGE = 0.01
"""Standard deviation of the change of its height in one second, metres."""
SLOPE_CHANGE = 0.001
"""Standard deviation of the change of its slope in one second."""
ROUGHNESS = 0.03
"""Standard deviation of the ground from a plane, metres."""
CURVATURE = 1 / 5000
"""Standard deviation of its curvature, 1/m."""
HALF_HEIGHT = 0.02
"""Standard deviation of half the height of a box, as a share of its height."""
LASTING = 0.5
"""Correlation time of the errors of one object, seconds."""
OFF_GROUND = 9.0
"""Squared normalised distance from the ground above which a box does not stand on it."""


class Ground:
    """A plane below one sensor: z = a + b x + c y, relative to the sensor in the level frame."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._mean = np.zeros(3)
        self._covariance = np.diag([UNKNOWN_HEIGHT, UNKNOWN_SLOPE, UNKNOWN_SLOPE]) ** 2

    def predict(self, seconds: float) -> None:
        """Increase the uncertainty of the plane by its slow change in this time."""
        change = np.array([HEIGHT_CHANGE, SLOPE_CHANGE, SLOPE_CHANGE]) ** 2
        self._covariance += np.diag(change) * seconds

    def correct(self, measured: Measurements) -> Measurements:
        """The detections, corrected to stand on the plane if they are near it."""
        direction, gap, variance, of_ground = self._gaps(measured)
        along = np.einsum("nij,nj->ni", measured.covariance, direction)
        total = np.einsum("ni,ni->n", along, direction) + variance + of_ground
        on_ground = gap**2 <= OFF_GROUND * total
        gain = along * (on_ground / total)[:, None]
        return replace(
            measured,
            position=measured.position - gain * gap[:, None],
            covariance=measured.covariance - gain[:, :, None] * along[:, None],
        )

    def learn(self, measured: Measurements, interval: float) -> None:
        """Correct the plane with detections; interval: seconds since the last ones.

        If more than half of them do not stand on the plane, it is forgotten.
        """
        direction, gap, variance, of_ground = self._gaps(measured)
        noise = np.einsum("ni,nij,nj->n", direction, measured.covariance, direction) + variance
        kept = gap**2 <= OFF_GROUND * (noise + of_ground)
        if len(kept) and kept.mean() < 0.5:
            self._forget()
            return
        jacobian = self._jacobian(measured)[kept]
        # Errors with a correlation time T carry as much information as independent ones with
        # 2 T / dt times their variance.
        noise = noise[kept] * max(2 * LASTING / interval, 1.0)
        information = np.linalg.inv(self._covariance)
        covariance = np.linalg.inv(information + (jacobian / noise[:, None]).T @ jacobian)
        self._mean = self._mean + covariance @ (jacobian / noise[:, None]).T @ gap[kept]
        self._covariance = covariance

    def _jacobian(self, measured: Measurements) -> Array:
        offset = measured.position - measured.origin
        offset[:, 2] = 1
        return offset[:, [2, 0, 1]]

    def _gaps(self, measured: Measurements) -> tuple[Array, Array, Array, Array]:
        """The gaps between boxes and ground.

        Returns:
            (N, 3) their derivatives by the positions of the boxes, (N,) gaps, (N,) variances of
            what the plane does not describe, (N,) variances of the plane.
        """
        jacobian = self._jacobian(measured)
        height = measured.size[:, 2]
        bottom = measured.position[:, 2] - measured.origin[2] - height / 2
        distance = np.linalg.norm(jacobian[:, 1:], axis=1)
        sag = CURVATURE * distance**2 / 2
        variance = ROUGHNESS**2 + sag**2 + (HALF_HEIGHT * height) ** 2
        of_ground = np.einsum("ni,ij,nj->n", jacobian, self._covariance, jacobian)
        direction = np.tile([-self._mean[1], -self._mean[2], 1.0], (len(height), 1))
        return direction, bottom - jacobian @ self._mean, variance, of_ground
