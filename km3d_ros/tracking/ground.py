"""The ground on which the objects stand, estimated from their boxes and the mount of the sensor.

An error of the distance moves a box along its ray, and so above or below the ground. The height of
the ground therefore corrects the distance, unless the ray is nearly parallel to the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from km3d_ros.tracking.measurements import Measurements

Array = np.ndarray

UNKNOWN = (30.0, 0.03, 0.03, 1 / 3000)
"""Standard deviations before the first detection: height in metres, two slopes in metres per
metre, curvature in 1/m."""
MOUNTED = (0.02, 0.005, 0.005, 1 / 3000)
"""Standard deviations of the difference from the plane that the mount of the sensor gives, before
the first detection; same units. Mounts are measured with errors."""
SETTLING = 1.0
"""Time constant in seconds with which the plane follows the mount. A vehicle pitches on its
springs, and the road does not."""
CHANGE = (0.005, 0.001, 0.001, 1 / 50000)
"""Standard deviations of the changes in one second, same units."""
CONTRADICTIONS = 5
"""Largest number of images that contradict the surface, less those that agree with it. Above it,
the surface is given up."""
ROUGHNESS = 0.015
"""Standard deviation of the ground from such a surface near the sensor, metres."""
REST = 1 / 30000
"""Standard deviation of the curvature that the surface does not describe, 1/m."""
HALF_HEIGHT = 0.015
"""Standard deviation of half the height of a box, as a share of its height."""
TAILS = 2.0
"""Degrees of freedom of Student's t distribution, of which the gaps between boxes and ground are
samples: a box with a large gap has a small weight."""
LASTING = 0.75
"""Correlation time of the errors of one object, seconds."""
OFF_GROUND = 9.0
"""Squared normalised distance from the ground above which a box does not stand on it."""


class Ground:
    """The surface below one sensor: z = a + b x + c y + k (x² + y²) / 2.

    All are relative to the sensor, in the level frame.

    contradicts_mount: whether the plane that the mount gives was given up.
    """

    def __init__(self) -> None:
        self.contradicts_mount = False
        self._plane: Array | None = None
        self._begin(UNKNOWN)

    def _begin(self, deviations: Sequence[float]) -> None:
        """The mean and the covariance are those of the difference from `_plane`."""
        self._mean = np.zeros(4)
        self._covariance = np.diag(np.square(deviations))
        self._contradictions = 0

    def predict(self, seconds: float, plane: Array | None) -> None:
        """Increase the uncertainty of the surface by its slow change in this time.

        plane: (3,) a, b, c of the plane that the mount gives at this time: metres, and metres per
            metre; None if the mount is not known.
        """
        if self.contradicts_mount:
            plane = None
        if plane is None or self._plane is None:
            if plane is not self._plane:
                self._begin(UNKNOWN if plane is None else MOUNTED)
            self._plane = plane
        else:
            self._plane = plane + np.exp(-seconds / SETTLING) * (self._plane - plane)
        self._covariance += np.diag(np.square(CHANGE)) * seconds

    def correct(self, measured: Measurements) -> Measurements:
        """The detections, corrected to stand on the surface if they are near it."""
        gap, by_position, _, rest, of_surface = self._gaps(measured)
        along = np.einsum("nij,nj->ni", measured.covariance, by_position)
        total = np.einsum("ni,ni->n", along, by_position) + rest + of_surface
        on_ground = gap**2 <= OFF_GROUND * total
        gain = along * (on_ground / total)[:, None]
        return replace(
            measured,
            position=measured.position - gain * gap[:, None],
            covariance=measured.covariance - gain[:, :, None] * along[:, None],
        )

    def learn(self, measured: Measurements, interval: float) -> None:
        """Correct the surface with detections; interval: seconds since the last ones.

        If more than half of them are off the surface in several images, it is given up.
        """
        gap, by_position, by_surface, rest, of_surface = self._gaps(measured)
        noise = np.einsum("ni,nij,nj->n", by_position, measured.covariance, by_position) + rest
        kept = gap**2 <= OFF_GROUND * (noise + of_surface)
        if len(kept) and kept.mean() < 0.5:
            self._contradictions += 1
            if self._contradictions > CONTRADICTIONS:
                self.contradicts_mount |= self._plane is not None
                self._plane = None
                self._begin(UNKNOWN)
            return
        self._contradictions = max(self._contradictions - 1, 0)
        jacobian = by_surface[kept]
        # The weights of a maximum likelihood estimate with Student's t distribution.
        noise *= (TAILS + gap**2 / (noise + of_surface)) / (TAILS + 1)
        # Errors with a correlation time T carry as much information as independent ones with
        # 2 T / dt times their variance.
        noise = noise[kept] * max(2 * LASTING / interval, 1.0)
        information = np.linalg.inv(self._covariance)
        covariance = np.linalg.inv(information + (jacobian / noise[:, None]).T @ jacobian)
        self._mean = self._mean + covariance @ (jacobian / noise[:, None]).T @ gap[kept]
        self._covariance = covariance

    def _gaps(self, measured: Measurements) -> tuple[Array, Array, Array, Array, Array]:
        """The gaps between boxes and ground.

        Returns:
            (N,) gaps, their derivatives (N, 3) by the positions of the boxes and (N, 4), negative,
            by the coefficients of the surface, (N,) variances of what the surface does not
            describe, (N,) variances of the surface.
        """
        x, y, z = (measured.position - measured.origin).T
        by_surface = np.stack([np.ones_like(x), x, y, (x**2 + y**2) / 2], 1)
        surface = self._mean.copy()
        if self._plane is not None:
            surface[:3] += self._plane
        _, b, c, k = surface
        by_position = np.stack([-b - k * x, -c - k * y, np.ones_like(x)], 1)
        height = measured.size[:, 2]
        gap = z - height / 2 - by_surface @ surface
        rest = ROUGHNESS**2 + (REST * by_surface[:, 3]) ** 2 + (HALF_HEIGHT * height) ** 2
        of_surface = np.einsum("ni,ij,nj->n", by_surface, self._covariance, by_surface)
        return gap, by_position, by_surface, rest, of_surface
