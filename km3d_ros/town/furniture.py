"""Places props along a street: street furniture, barriers and road works."""

from __future__ import annotations

import numpy as np

from km3d_ros.town import palette
from km3d_ros.town.barriers import PIECE
from km3d_ros.town.crowd import Crowd
from km3d_ros.town.props import prop
from km3d_ros.town.street import building_line

DESIGNS = 8
"""Number of designs of each prop."""
_SINGLES = {
    "lamp_post": 3, "pole": 2.5, "sign": 3, "traffic_light": 1, "bin": 1.5, "dumpster": 1,
    "cabinet": 1, "billboard": 1, "bollard": 2, "cone": 0.7, "beacon": 1,
    "low_sign": 3, "marker_post": 1.5, "bench": 0.7, "shelter": 0.7,
    "railing": 1.2, "bicycle": 2.2, "trailer": 0.8, "bins": 1, "planter": 0.8, "kiosk": 0.4,
    "parasol": 0.5,
}  # fmt: skip
"""Relative frequency of each prop that is placed singly."""
_AT_KERB = ("lamp_post", "sign", "traffic_light", "bollard", "railing", "low_sign", "marker_post")
_TURNED = ("shelter", "bench", "dumpster", "billboard", "bicycle", "bins", "kiosk")
_RUN_ODDS = {"open": (0.75, 0.35), "residential": (0.15, 0.0), "city": (0.2, 0.06)}
"""Probability of a barrier along each side, and between the directions, by kind of street."""
_RUN_KINDS = {
    "guard_rail": (0.2, 0.58), "double_rail": (0.05, 0.1), "concrete": (0.1, 0.1),
    "tube_rail": (0.45, 0.17), "mesh_fence": (0.2, 0.05),
}  # fmt: skip
"""Relative frequency of each barrier in towns, and on open roads."""


def furnish(crowd: Crowd) -> None:
    """Add street furniture such as lamp posts and signs, barriers and road works."""
    street, rng = crowd.street, crowd.rng
    _runs(crowd)
    _road_works(crowd)
    names, weights = list(_SINGLES), np.array(list(_SINGLES.values()))
    for ego_side, sign in ((True, 1), (False, -1)):
        kerb, line = street.kerb(ego_side), building_line(street, ego_side)
        for _ in range(rng.poisson(8 * street.length / 80)):
            name = str(rng.choice(names, p=weights / weights.sum()))
            s = rng.uniform(street.start + 5, street.length * 0.95)
            u = kerb + 0.45 if name in _AT_KERB else rng.uniform(kerb + 0.8, max(line, kerb + 1.0))
            if name in ("cone", "beacon"):
                u = rng.uniform(0.8, 1.0) * kerb
            elif name == "trailer":
                u = kerb + rng.uniform(-0.9, 1.2)
            turn = 0.0
            if name in _TURNED and rng.random() < 0.6:
                turn = sign * street.side * np.pi / 2
            mesh = prop(name, int(rng.integers(DESIGNS)))
            if not street.on_crossing(s):
                crowd.add(None, mesh, palette.prop(rng), s, sign * u, turn + rng.normal(0, 0.04))


def _road_works(crowd: Crowd) -> None:
    """Add a row of beacons or marker posts along a quarter of the streets."""
    street, rng = crowd.street, crowd.rng
    if rng.random() > 0.25:
        return
    beacons = rng.random() < 0.6
    mesh = prop("beacon" if beacons else "marker_post", int(rng.integers(DESIGNS)))
    sign = rng.choice([-1, 1])
    kerb = street.kerb(sign > 0)
    u = sign * (rng.uniform(0.75, 1.0) * kerb if beacons else kerb + 0.5)
    gap, first = (rng.uniform(4, 9) if beacons else 20.0), rng.uniform(4, 30)
    colors = palette.prop(rng)
    for s in np.arange(first, rng.uniform(40, street.length), gap):
        crowd.add(None, mesh, colors, s, u, rng.normal(0, 0.1))


def _runs(crowd: Crowd) -> None:
    """Add barriers and railings along the sides and between the directions, at random."""
    street, rng = crowd.street, crowd.rng
    beside, between = _RUN_ODDS[street.kind]
    places = [sign * (street.kerb(sign > 0) + rng.uniform(0.3, 0.8))
              for sign in (1, -1) if rng.random() < beside]  # fmt: skip
    if street.lanes[1] and rng.random() < between:
        places.append(0.0)
    shares = np.array([share[street.kind == "open"] for share in _RUN_KINDS.values()])
    for u in places:
        _run(crowd, str(rng.choice(list(_RUN_KINDS), p=shares / shares.sum())), u)


def _run(crowd: Crowd, name: str, u: float) -> None:
    """Add pieces of one design end to end, along all of the street or a part of it."""
    street, rng = crowd.street, crowd.rng
    mesh, colors = prop(name, int(rng.integers(DESIGNS))), palette.prop(rng)
    first, last = street.start, street.length
    if rng.random() < 0.4:
        first, last = np.sort(rng.uniform(first, last, 2))
    for s in np.arange(first, last, PIECE + 0.26):
        if not street.on_crossing(s):
            crowd.add(None, mesh, colors, s, u)
