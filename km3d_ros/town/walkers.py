"""Places pedestrians and cyclists on a street."""

from __future__ import annotations

import numpy as np

from km3d_ros.town import palette
from km3d_ros.town.crowd import Crowd
from km3d_ros.town.people import CYCLISTS, PEDESTRIANS, PHASES, cyclist, pedestrian
from km3d_ros.town.scene import Actor
from km3d_ros.town.street import building_line


def place_people(crowd: Crowd, busy: float) -> None:
    """Place the pedestrians and cyclists of a still frame; `busy` scales their mean number."""
    rng = crowd.rng
    for _ in range(rng.poisson(3.1 * busy)):
        size = int(rng.choice([1, 2, 3, 4], p=[0.62, 0.23, 0.1, 0.05]))
        _group(crowd, size)
    for _ in range(rng.poisson(1.9 * busy)):
        _cyclist(crowd)


def _group(crowd: Crowd, size: int) -> None:
    """Place pedestrians side by side: on a sidewalk, on the road, or between parked cars."""
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
    """Sample a distance ahead in metres: mostly 4 to 42, at most 60."""
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
    """Add a pedestrian at (s, u). Returns None if the place is taken."""
    rng = crowd.rng
    mesh = pedestrian(int(rng.integers(PEDESTRIANS)), int(rng.integers(PHASES)))
    size = mesh.size * (1 + rng.normal(0, 0.02))
    return crowd.add("Pedestrian", mesh, palette.person(rng), s, u, turn, size)


def rider(crowd: Crowd, s: float, u: float, turn: float) -> Actor | None:
    """Add a cyclist at (s, u). Returns None if the place is taken."""
    rng = crowd.rng
    mesh = cyclist(int(rng.integers(CYCLISTS)), int(rng.integers(PHASES)))
    size = mesh.size * (1 + rng.normal(0, 0.02))
    return crowd.add("Cyclist", mesh, palette.person(rng), s, u, turn, size)
