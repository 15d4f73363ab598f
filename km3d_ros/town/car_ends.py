"""Details that distinguish the front of a car from its rear: lamps, grille, bumpers, plates."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.town.meshes import Slot

if TYPE_CHECKING:
    from km3d_ros.town.vehicles import Body

# Sides are fractions of half the width, and heights are fractions of the height.


def _patch(body: Body, front: bool, sides, heights, slot: Slot, layer: int) -> None:
    """Add a polygon with corners (sides, heights) on the rounded front or rear."""
    sides, heights = np.asarray(sides, float), np.asarray(heights, float)
    half, places = body.half, body.places
    if front:
        place = np.interp(np.abs(sides), half[[8, 7, 6]], places[[8, 7, 6]] + 0.002)
        place = np.minimum(place, 1.0)
    else:
        place = np.interp(np.abs(sides), half[[0, 1, 2]], places[[0, 1, 2]] - 0.002)
        place = np.maximum(place, 0.0)
    body.b.polygon(body.at(place, sides, heights), slot, layer, body.inside)


def _bar(body: Body, front: bool, half: float, low: float, high: float, slot, layer: int) -> None:
    """Add a centred rectangle of width 2 * `half`."""
    _patch(body, front, [-half, half, half, -half], [low, low, high, high], slot, layer)


def _corners(body: Body, front, inner, outer, low, high, slot, layer, slant=0.0) -> None:
    """Add a patch on both corners, split where the body bends; `slant` raises its outer end."""
    turns = [float(body.half[k]) for k in ((8, 7) if front else (0, 1))]
    cuts = [inner, *[t for t in turns if inner < t < outer], outer]
    for sign in (-1, 1):
        for a, b in itertools.pairwise(cuts):
            lift_a, lift_b = slant * (a - inner), slant * (b - inner)
            sides = [sign * a, sign * b, sign * b, sign * a]
            heights = [low + lift_a, low + lift_b, high + lift_b / 2, high + lift_a / 2]
            _patch(body, front, sides, heights, slot, layer)


def _plate(body: Body, front: bool, low: float) -> None:
    half, tall = 0.26 / body.scale[1], 0.115 / body.scale[2]
    _bar(body, front, half, low, low + tall, Slot.PLATE, 5)
    for a, b in ((-0.75, -0.3), (-0.15, 0.8)):
        sides = np.array([a, b, b, a]) * half
        edges = low + tall * np.array([0.25, 0.25, 0.75, 0.75])
        _patch(body, front, sides, edges, Slot.TRIM, 6)


def paint_front(body: Body) -> None:
    """Add bright lamps, a grille with a badge, an air intake and a number plate."""
    rng, nose, low = body.rng, body.style.nose, body.style.clearance
    tall = rng.uniform(0.10, 0.145)
    top, lamp = nose - 0.015, nose - 0.015 - tall
    inner = rng.uniform(0.46, 0.56)
    if rng.random() < 0.55:
        slant = rng.uniform(0.06, 0.2)
        _corners(body, True, inner, 0.965, lamp, top - 0.02, Slot.DARK, 2, slant)
        _corners(body, True, inner + 0.03, 0.95, lamp + 0.012, top - 0.03, Slot.HEAD, 3, slant)
        _corners(body, True, inner + 0.10, 0.72, lamp + 0.03, top - 0.04, Slot.CHROME, 4, slant)
    else:
        _corners(body, True, inner, 0.93, lamp, top, Slot.HEAD, 2)
        _corners(body, True, inner + 0.04, 0.70, lamp + 0.02, top - 0.02, Slot.CHROME, 3)
        if rng.random() < 0.6:
            _corners(body, True, 0.83, 0.93, lamp, top, Slot.ORANGE, 4)
    _grille(body, inner - 0.03, lamp, top)
    intake = low + rng.uniform(0.10, 0.14)
    wide = rng.uniform(0.45, 0.85)
    _patch(body, True, [-wide, wide, wide * 0.8, -wide * 0.8],
           [low + 0.05, low + 0.05, intake, intake], Slot.DARK, 2)  # fmt: skip
    if rng.random() < 0.55:
        _corners(body, True, 0.60, 0.74, low + 0.07, low + 0.12, Slot.CHROME, 3)
    if rng.random() < 0.35:
        _bar(body, True, 0.72, intake + 0.01, intake + 0.06, Slot.TRIM, 2)
    _plate(body, True, low + rng.uniform(0.12, 0.17))


def _grille(body: Body, half: float, lamp: float, top: float) -> None:
    rng = body.rng
    kind = rng.choice(["bars", "frame", "kidneys", "slot"], p=[0.35, 0.3, 0.15, 0.2])
    mid = (lamp + top) / 2
    if kind == "slot":
        _bar(body, True, half * 0.9, top - 0.035, top - 0.01, Slot.DARK, 2)
    elif kind == "kidneys":
        for sign in (-1, 1):
            sides = sign * np.array([0.03, 0.24, 0.22, 0.03])
            heights = [lamp, lamp + 0.01, top, top]
            _patch(body, True, sides, heights, Slot.DARK, 2)
    else:
        slots = (Slot.CHROME, Slot.DARK) if kind == "frame" else (Slot.DARK, Slot.DARK)
        for shrink, slot, layer in zip((0.0, 0.012), slots, (2, 3), strict=True):
            wide = half - 3 * shrink
            sides = [-wide, wide, wide * 0.82, -wide * 0.82]
            _patch(body, True, sides, [top - shrink] * 2 + [lamp - 0.03 + shrink] * 2, slot, layer)
        for k in range(int(rng.integers(0, 3))):
            z = top - 0.035 - 0.035 * k
            _bar(body, True, half * 0.78, z - 0.01, z, Slot.CHROME, 4)
    badge = 0.055 / body.scale[1], 0.055 / body.scale[2]
    heights = mid + np.array([0, -1, 0, 1]) * badge[1]
    _patch(body, True, np.array([-1, 0, 1, 0]) * badge[0], heights, Slot.CHROME, 5)


def paint_back(body: Body) -> None:
    """Add red lamps on both sides, a bumper, a number plate and a badge."""
    rng, deck, low = body.rng, body.style.deck, body.style.clearance
    upright = body.style.rear[0] < 0.06
    top = deck - rng.uniform(0.02, 0.05)
    _tail_lamps(body, top, tall=bool(rng.random() < (0.65 if upright else 0.2)))
    bumper = low + rng.uniform(0.15, 0.21)
    if rng.random() < 0.45:
        _corners(body, False, 0.0, 0.93, bumper - 0.06, bumper, Slot.TRIM, 2)
    _corners(body, False, 0.0, 0.84, bumper + 0.002, bumper + 0.012, Slot.DARK, 3)
    _bar(body, False, rng.uniform(0.55, 0.8), low + 0.05, low + rng.uniform(0.08, 0.12),
         Slot.DARK, 2)  # fmt: skip
    if rng.random() < 0.5:
        _corners(body, False, 0.64, 0.76, low + 0.12, low + 0.14, Slot.TAIL, 4)
    plate = bumper + rng.uniform(0.03, 0.08) if rng.random() < 0.72 else low + 0.08
    _bar(body, False, 0.42, plate - 0.012, plate + 0.1, Slot.SHADE, 3)
    _plate(body, False, plate)
    if rng.random() < 0.5:
        _bar(body, False, 0.36, plate + 0.09, plate + 0.105, Slot.CHROME, 4)
    badge = plate + 0.14
    if badge < top:
        size = 0.045 / body.scale[1], 0.045 / body.scale[2]
        _patch(body, False, np.array([-1, 0, 1, 0]) * size[0],
               badge + np.array([0, -1, 0, 1]) * size[1], Slot.CHROME, 4)  # fmt: skip


def _tail_lamps(body: Body, top: float, tall: bool) -> None:
    rng = body.rng
    bottom = top - (rng.uniform(0.18, 0.24) if tall else rng.uniform(0.11, 0.15))
    inner = rng.uniform(0.62, 0.72) if tall else rng.uniform(0.44, 0.58)
    _corners(body, False, inner, 0.965, bottom, top, Slot.TAIL, 2)
    part = (top - bottom) * 0.3
    if rng.random() < 0.7:
        _corners(body, False, inner + 0.03, 0.82, bottom + part, bottom + 1.8 * part, Slot.HEAD, 3)
    if rng.random() < 0.4:
        _corners(body, False, inner + 0.03, 0.90, top - part, top - part * 0.2, Slot.ORANGE, 3)
    if not tall and rng.random() < 0.15:
        _bar(body, False, inner, bottom + part, top - part, Slot.TAIL, 2)
