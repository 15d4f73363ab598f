"""Places the actors of a still frame: traffic, parked vehicles, people and props."""

from __future__ import annotations

import numpy as np

from km3d_ros.town.crowd import Crowd
from km3d_ros.town.furniture import furnish
from km3d_ros.town.scene import Actor, Tree
from km3d_ros.town.street import Street
from km3d_ros.town.walkers import place_people

FARTHEST = 72.0
"""Greatest s, in metres, of vehicles that drive or park along the street."""


def populate(
    street: Street, rng: np.random.Generator, trees: list[Tree], ego: float
) -> list[Actor]:
    """Sample the actors of a still frame. The ego drives at u = `ego`, s = 0."""
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
        place_people(crowd, rng.uniform(0.3, 2.5))
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
            if not street.on_crossing(s) or rng.random() < 0.5:
                crowd.vehicle(s, u, turn + lean, thinned=0.75 if s < 28 else 0.5)
            s += rng.uniform(5.2, 8) + rng.exponential(gap)


def _crossing(crowd: Crowd, density: float) -> None:
    """Add vehicles on the crossing street and, at random, a turning vehicle."""
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
        nose = 0.0 if kind == "parallel" else rng.choice([np.pi / 2, np.pi / 3], p=[0.7, 0.3])
        if rng.random() < 0.33:
            _row(crowd, sign, edge + (1.05 if kind == "parallel" else 2.4), (2.0, reach), nose)
            continue
        step = rng.uniform(5.4, 6.6) if kind == "parallel" else rng.uniform(2.7, 3.3)
        for s in np.arange(rng.uniform(1, 1 + step), reach, step):
            if rng.random() > full or street.on_crossing(s):
                continue
            u = sign * (edge + (1.05 if kind == "parallel" else 2.4)) + rng.normal(0, 0.1)
            turn = _parked_turn(crowd, sign, nose)
            crowd.vehicle(s + rng.normal(0, 0.25), u, turn + rng.normal(0, 0.03))
    for sign in (1, -1):
        space = street.setback[0 if sign > 0 else 1]
        if space > 9 and rng.random() < 0.35:
            start = rng.uniform(8, 35)
            u = street.kerb(sign > 0) + street.sidewalk[0 if sign > 0 else 1] + 3.2
            _row(crowd, sign, u, (start, start + rng.uniform(10, 30)), np.pi / 2)


def _parked_turn(crowd: Crowd, sign: int, nose: float) -> float:
    """Sample the rotation of a parked car: mostly in driving direction or nose to the kerb."""
    rng = crowd.rng
    away = 0.0 if (sign > 0) != (rng.random() < 0.1) else np.pi
    return away + sign * crowd.street.side * nose * (1 if rng.random() < 0.8 else -1)


def _row(crowd: Crowd, sign: int, u: float, span: tuple[float, float], nose: float) -> None:
    """Add a dense row of parked cars that hide each other; `nose` is their angle to the kerb."""
    street, rng = crowd.street, crowd.rng
    s = span[0] + rng.uniform(0, 4)
    gap, hide = rng.uniform(0.5, 1.3), rng.uniform(0.2, 0.75)
    while s < min(span[1], FARTHEST):
        turn = _parked_turn(crowd, sign, nose) + rng.normal(0, 0.03)
        place = sign * u + rng.normal(0, 0.08)
        free = not street.on_crossing(s) and rng.random() < 0.93
        actor = crowd.vehicle(s, place, turn, thinned=hide) if free else None
        if actor is None:
            s += 0.9
        elif nose:
            s += actor.size[1] / np.sin(nose) + gap
        else:
            s += actor.size[0] / 2 + 1.95 + gap
