"""Places actors on a street so that they do not overlap."""

from __future__ import annotations

import numpy as np

from km3d_ros.town import palette
from km3d_ros.town.meshes import Mesh
from km3d_ros.town.scene import Actor
from km3d_ros.town.street import Street
from km3d_ros.town.trucks import bus, truck
from km3d_ros.town.vehicles import CARS, VANS, VARIANTS, Style, car

THINNED = 0.8
"""Probability of leaving out a vehicle that would hide another one or be hidden by it."""
RESIDUAL = (0.017, 0.010)
"""Relative standard deviation of a vehicle's size: common to all axes, and of each axis."""


def _summed(styles: dict[str, Style]) -> tuple[list[Style], np.ndarray]:
    """Styles and their cumulative shares, normalised to 1."""
    shares = np.cumsum([style.share for style in styles.values()])
    return list(styles.values()), shares / shares[-1]


_CARS, _VANS = _summed(CARS), _summed(VANS)


class Crowd:
    """The actors placed so far. A new actor is refused if it overlaps one of them."""

    def __init__(
        self, street: Street, rng: np.random.Generator, eye: tuple[float, float] | None = None
    ) -> None:
        """`eye`: world x, z of the camera; most vehicles that hide others from it are left out."""
        self.street, self.rng, self.eye = street, rng, eye
        self._bearings: list[tuple[float, float]] = []
        self.actors: list[Actor] = []
        self._boxes = np.empty((400, 5))
        self._count = 0

    def reserve(self, x, z, length, width, yaw) -> bool:
        """Reserve the footprint of a box. Returns False if it is taken or the crowd is full."""
        box = np.array([x, z, length / 2 + 0.12, width / 2 + 0.12, yaw])
        taken = self._boxes[: self._count]
        reach = box[2] + box[3] + taken[:, 2] + taken[:, 3]
        near = (np.abs(taken[:, 0] - x) < reach) & (np.abs(taken[:, 1] - z) < reach)
        if any(_overlap(box, other) for other in taken[near]) or self._count == len(self._boxes):
            return False
        self._boxes[self._count] = box
        self._count += 1
        return True

    def add(self, class_name, mesh: Mesh, colors, s, u, turn=0.0, size=None) -> Actor | None:
        """Add an actor at (s, u), turned from the street. Returns None if its place is taken."""
        x, z, heading = (float(v) for v in self.street.place(s, u))
        yaw = heading + turn - np.pi / 2
        size = mesh.size if size is None else size
        if not self.reserve(x, z, size[0], size[1], yaw):
            return None
        actor = Actor(class_name, mesh, tuple(float(v) for v in size), x, z, yaw, colors)
        self.actors.append(actor)
        return actor

    def _crowded(self, s: float, u: float, turn: float, size, thinned: float) -> bool:
        """Whether to leave out a vehicle that hides another one or is hidden by it.

        Then the bearings of both overlap by more than a fifth of the narrower range, and the
        probability is `thinned`.
        """
        if self.eye is None:
            return False
        x, z, heading = self.street.place(s, u)
        dx, dz = float(x) - self.eye[0], float(z) - self.eye[1]
        bearing = np.arctan2(dx, dz)
        view = turn + float(heading) - bearing
        half = size[0] * abs(np.sin(view)) + size[1] * abs(np.cos(view))
        half /= 2 * max(np.hypot(dx, dz), 1.0)
        low, high = bearing - half, bearing + half
        shared = any(
            min(high, b) - max(low, a) > 0.2 * min(high - low, b - a) for a, b in self._bearings
        )
        if shared and self.rng.random() < thinned:
            return True
        self._bearings.append((low, high))
        return False

    def vehicle(
        self, s: float, u: float, turn: float, cars_only: bool = False, thinned: float = THINNED
    ) -> Actor | None:
        """Add a car, van, truck or bus centred at (s, u). Returns None if it is left out."""
        rng = self.rng
        kind = 0.0 if cars_only else rng.random()
        variant = int(rng.integers(VARIANTS))
        if kind > 0.985:
            name, mesh = ("Bus", bus(variant)) if kind > 0.9925 else ("Truck", truck(variant))
            return self.add(name, mesh, palette.vehicle(rng), s, u, turn)
        styles, shares = _VANS if kind > 0.90 else _CARS
        style = styles[int(np.searchsorted(shares, rng.random()))]
        scale = 1 + rng.normal(0, RESIDUAL[0]) + rng.normal(0, RESIDUAL[1], 3)
        size = np.array(style.size) * scale
        if self._crowded(s, u, turn, size, thinned):
            return None
        name = "Van" if kind > 0.90 else "Car"
        return self.add(name, car(style, variant), palette.vehicle(rng), s, u, turn, size)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two rectangles (x, z, half length, half width, yaw) intersect."""
    ca, sa, cb, sb = np.cos(a[4]), np.sin(a[4]), np.cos(b[4]), np.sin(b[4])
    dx, dz = b[0] - a[0], b[1] - a[1]
    c, s = abs(np.cos(a[4] - b[4])), abs(np.sin(a[4] - b[4]))
    return (
        abs(dx * ca - dz * sa) < a[2] + b[2] * c + b[3] * s
        and abs(dx * sa + dz * ca) < a[3] + b[2] * s + b[3] * c
        and abs(dx * cb - dz * sb) < b[2] + a[2] * c + a[3] * s
        and abs(dx * sb + dz * cb) < b[3] + a[2] * s + a[3] * c
    )
