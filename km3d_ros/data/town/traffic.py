"""Who is on the street: traffic, parked rows, people, furniture, none intersecting another."""

from __future__ import annotations

import numpy as np

from km3d_ros.data.town import palette
from km3d_ros.data.town.meshes import Mesh
from km3d_ros.data.town.people import CYCLISTS, PEDESTRIANS, PHASES, cyclist, pedestrian
from km3d_ros.data.town.props import PROPS, prop
from km3d_ros.data.town.scene import Actor, Tree
from km3d_ros.data.town.street import Street, building_line
from km3d_ros.data.town.trucks import truck
from km3d_ros.data.town.vehicles import CARS, VANS, VARIANTS, car

FARTHEST = 72.0
"""Metres along the street up to which objects stand."""
THINNED = 0.8
"""Share left out of those vehicles that would hide, or be hidden by, another one."""
RESIDUAL = (0.017, 0.010)
"""Spread of a size about its style's: common to all axes, and of each axis."""


class Crowd:
    """Actors placed so far, and the test that keeps them apart."""

    def __init__(
        self,
        street: Street,
        rng: np.random.Generator,
        eye: tuple[float, float] | None = None,
    ) -> None:
        """`eye` is the world x, z from which vehicles should mostly not hide one another."""
        self.street, self.rng, self.eye = street, rng, eye
        self._bearings: list[tuple[float, float]] = []
        self.actors: list[Actor] = []
        self._boxes = np.empty((256, 5))
        self._count = 0

    def reserve(self, x, z, length, width, yaw) -> bool:
        """Take the ground that a box needs; False where somebody is already there."""
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
        """Put an actor at (s, u), turned from the street's direction; None where it cannot."""
        x, z, heading = (float(v) for v in self.street.place(s, u))
        yaw = heading + turn - np.pi / 2
        size = mesh.size if size is None else size
        if not self.reserve(x, z, size[0], size[1], yaw):
            return None
        actor = Actor(class_name, mesh, tuple(float(v) for v in size), x, z, yaw, colors)
        self.actors.append(actor)
        return actor

    def _crowded(self, s: float, u: float, turn: float, size) -> bool:
        """By chance True for a vehicle that shares over a fifth of its bearings with another."""
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
        if shared and self.rng.random() < THINNED:
            return True
        self._bearings.append((low, high))
        return False

    def vehicle(self, s: float, u: float, turn: float, cars_only: bool = False) -> Actor | None:
        """A car, van or truck centred at (s, u)."""
        rng = self.rng
        kind = 0.0 if cars_only else rng.random()
        variant, colors = int(rng.integers(VARIANTS)), palette.vehicle(rng)
        if kind > 0.985:
            return self.add("Truck", truck(variant), colors, s, u, turn)
        styles = list((VANS if kind > 0.90 else CARS).values())
        style = styles[rng.choice(len(styles), p=[style.share for style in styles])]
        scale = 1 + rng.normal(0, RESIDUAL[0]) + rng.normal(0, RESIDUAL[1], 3)
        size = np.array(style.size) * scale
        if self._crowded(s, u, turn, size):
            return None
        name = "Van" if kind > 0.90 else "Car"
        return self.add(name, car(style, variant), colors, s, u, turn, size)


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


def populate(
    street: Street, rng: np.random.Generator, trees: list[Tree], ego: float
) -> list[Actor]:
    """Objects and furniture of a still frame; the ego drives at u = `ego`, s = 0."""
    x, z, _ = street.place(0.0, ego)
    crowd = Crowd(street, rng, (float(x), float(z)))
    x, z, heading = street.place(0.6, ego)
    crowd.reserve(float(x), float(z), 4.6, 1.9, float(heading) - np.pi / 2)
    for tree in trees:
        if tree.trunk:
            crowd.reserve(tree.x, tree.z, 2 * tree.trunk, 2 * tree.trunk, 0.0)
    if rng.random() > 0.03:
        density = rng.uniform(0.3, 1.0)
        _crossing(crowd, density)
        _driving(crowd, density)
        _parked(crowd, density)
        _people(crowd, rng.uniform(0.2, 1.8))
    furnish(crowd)
    return crowd.actors


def _driving(crowd: Crowd, density: float) -> None:
    street, rng = crowd.street, crowd.rng
    gap = rng.uniform(4, 10) / density
    for k in range(-street.lanes[1], street.lanes[0]):
        turn = 0.0 if k >= 0 else np.pi
        s = rng.uniform(3, 14) + rng.exponential(gap * 0.5)
        while s < FARTHEST:
            u = (k + 0.5) * street.lane + rng.normal(0, 0.2)
            lean = rng.normal(0, 0.03) if rng.random() < 0.93 else rng.normal(0, 0.35)
            if not _on_crossing(street, s) or rng.random() < 0.5:
                crowd.vehicle(s, u, turn + lean)
            s += rng.uniform(5.2, 8) + rng.exponential(gap)


def _on_crossing(street: Street, s: float) -> bool:
    return abs(s - street.junction) < street.crossing + 2.5


def _crossing(crowd: Crowd, density: float) -> None:
    """Traffic of the crossing street, and cars that turn."""
    street, rng = crowd.street, crowd.rng
    if not np.isfinite(street.junction):
        return
    for sign in (-1, 1):
        u = rng.uniform(-32, -20)
        while u < 30:
            s = street.junction + sign * street.crossing * 0.5 + rng.normal(0, 0.25)
            if rng.random() < 0.5:
                crowd.vehicle(s, u, -sign * np.pi / 2 * street.side + rng.normal(0, 0.05))
            u += rng.uniform(5.5, 9) + rng.exponential(14 / density)
    if rng.random() < 0.4:
        s, u = street.junction + rng.uniform(-1, 1) * street.crossing, rng.uniform(-3, 3)
        crowd.vehicle(s, u, rng.uniform(-np.pi, np.pi))


def _parked(crowd: Crowd, density: float) -> None:
    street, rng = crowd.street, crowd.rng
    for k, sign in ((0, 1), (1, -1)):
        kind = street.parking[k]
        if not kind:
            continue
        full = rng.beta(1.4, 0.9)
        reach = rng.uniform(35, FARTHEST)
        edge = abs(street.edges[k])
        step = rng.uniform(5.4, 6.6) if kind == "parallel" else rng.uniform(2.7, 3.3)
        nose = 0.0 if kind == "parallel" else rng.choice([np.pi / 2, np.pi / 3])
        for s in np.arange(rng.uniform(1, 1 + step), reach, step):
            if rng.random() > full or _on_crossing(street, s):
                continue
            away = 0.0 if (sign > 0) != (rng.random() < 0.1) else np.pi
            turn = away + sign * street.side * nose * (1 if rng.random() < 0.8 else -1)
            u = sign * (edge + (1.05 if kind == "parallel" else 2.4)) + rng.normal(0, 0.1)
            crowd.vehicle(s + rng.normal(0, 0.25), u, turn + rng.normal(0, 0.03))


def _people(crowd: Crowd, busy: float) -> None:
    rng = crowd.rng
    for _ in range(rng.poisson(3.0 * busy)):
        size = int(rng.choice([1, 2, 3, 4], p=[0.62, 0.23, 0.1, 0.05]))
        _group(crowd, size)
    for _ in range(rng.poisson(2.8 * busy)):
        _cyclist(crowd)


def _group(crowd: Crowd, size: int) -> None:
    """Pedestrians side by side: on the pavement, across the road, or between parked cars."""
    street, rng = crowd.street, crowd.rng
    sign = rng.choice([-1, 1])
    kerb, line = street.kerb(sign > 0), building_line(street, sign > 0)
    s = _distance(rng)
    kind = rng.random()
    along = rng.choice([0, np.pi, rng.uniform(-np.pi, np.pi)], p=[0.4, 0.4, 0.2])
    across = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.2)
    if kind < 0.66:
        u, turn = sign * rng.uniform(kerb + 0.3, max(line, kerb + 0.8)), along
    elif kind < 0.86:
        u, turn = rng.uniform(-kerb, kerb), across if rng.random() < 0.8 else along
    else:
        edge = abs(street.edges[0 if sign > 0 else 1])
        u, turn = sign * rng.uniform(edge - 0.4, kerb + 0.4), rng.choice([across, along])
    c, sine = np.cos(turn), np.sin(turn)
    for k in range(size):
        side, ahead = 0.72 * k + rng.normal(0, 0.08), rng.normal(0, 0.35) if k else 0.0
        ds, du = ahead * c - side * sine, ahead * sine + side * c
        person(crowd, s + ds, u + du, turn + rng.normal(0, 0.12))


def _distance(rng: np.random.Generator) -> float:
    """Metres ahead: mostly 4 to 42, some as far as 60."""
    return 4 + (56 if rng.random() < 0.12 else 38) * rng.beta(1.15, 1.5)


def _cyclist(crowd: Crowd) -> None:
    street, rng = crowd.street, crowd.rng
    k = int(rng.integers(2))
    edge, s = abs(street.edges[k]) - rng.uniform(0.4, 1.2), _distance(rng)
    kind = rng.random()
    u = (1, -1)[k] * (edge if kind < 0.8 else street.kerb(k == 0) + rng.uniform(0.5, 1.2))
    turn = (0.0, np.pi)[k] if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi)
    if kind > 0.9:
        kerb = street.kerb(True)
        u, turn = rng.uniform(-kerb, kerb), rng.choice([-1, 1]) * np.pi / 2
    turn += rng.normal(0, 0.08)
    rider(crowd, s, u, turn)
    if rng.random() < 0.12:
        rider(crowd, s + 2.2 * np.cos(turn), u + 2.2 * np.sin(turn), turn)


def person(crowd: Crowd, s: float, u: float, turn: float) -> Actor | None:
    """A pedestrian at (s, u)."""
    rng = crowd.rng
    mesh = pedestrian(int(rng.integers(PEDESTRIANS)), int(rng.integers(PHASES)))
    size = mesh.size * (1 + rng.normal(0, 0.02))
    return crowd.add("Pedestrian", mesh, palette.person(rng), s, u, turn, size)


def rider(crowd: Crowd, s: float, u: float, turn: float) -> Actor | None:
    """A cyclist at (s, u)."""
    rng = crowd.rng
    mesh = cyclist(int(rng.integers(CYCLISTS)), int(rng.integers(PHASES)))
    size = mesh.size * (1 + rng.normal(0, 0.02))
    return crowd.add("Cyclist", mesh, palette.person(rng), s, u, turn, size)


def furnish(crowd: Crowd) -> None:
    """Lamp posts, signs, bins, billboards and the like along the kerbs."""
    street, rng = crowd.street, crowd.rng
    names = list(PROPS)
    weights = np.array([3, 2, 3, 1, 1.5, 1, 1, 1, 2, 0.7, 0.7, 0.5, 1.2, 0.0])
    for ego_side, sign in ((True, 1), (False, -1)):
        kerb, line = street.kerb(ego_side), building_line(street, ego_side)
        for _ in range(rng.poisson(6 * street.length / 80)):
            name = str(rng.choice(names, p=weights / weights.sum()))
            s = rng.uniform(street.start + 5, street.length * 0.95)
            near = name in ("lamp_post", "sign", "traffic_light", "bollard", "railing")
            u = kerb + 0.45 if near else rng.uniform(kerb + 0.8, max(line, kerb + 1.0))
            if name == "cone":
                u = rng.uniform(0.8, 1.0) * kerb
            turn = 0.0
            if name in ("shelter", "bench", "dumpster", "billboard") and rng.random() < 0.6:
                turn = sign * street.side * np.pi / 2
            mesh = prop(name, int(rng.integers(8)))
            if not _on_crossing(street, s):
                crowd.add(None, mesh, palette.prop(rng), s, sign * u, turn + rng.normal(0, 0.04))
        if street.kind == "open" and rng.random() < 0.5:
            _guard_rails(crowd, sign * (kerb + 0.5))


def _guard_rails(crowd: Crowd, u: float) -> None:
    mesh = prop("guard_rail", 1)
    colors = palette.prop(crowd.rng)
    for s in np.arange(crowd.street.start, crowd.street.length, mesh.size[0] + 0.3):
        if not _on_crossing(crowd.street, s):
            crowd.add(None, mesh, colors, s, u)
