"""Meshes of pedestrians and cyclists in the phases of their motion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from km3d_ros.town.bicycle import bicycle
from km3d_ros.town.meshes import Builder, Mesh, Slot

PHASES = 8
"""Number of phases of one stride, or of one turn of the pedals."""
PEDESTRIANS, CYCLISTS = 32, 20
"""Number of variants of each."""
_FRONT, _BACK = (7, 0, 6), (2, 3, 4)
"""Strips of an `_oval` that face forward, and those that face backward."""


@dataclass(frozen=True)
class _Wear:
    """Clothes and luggage. Open jackets, prints and packs distinguish front from back."""

    top: str  # plain, open (jacket), hoops, checks, print (on the chest) or vest
    legs: str  # trousers, shorts, skirt or coat
    short_sleeves: bool
    hair: str  # short, long, bald or hat
    luggage: str  # none, pack, shoulder or hand
    glasses: bool


def _wear(rng: np.random.Generator, luggage: float) -> _Wear:
    tops = ["plain", "open", "hoops", "checks", "print", "vest"]
    legs = ["trousers", "shorts", "skirt", "coat"]
    bags = ["none", "pack", "shoulder", "hand"]
    odds = (1 - luggage, luggage * 0.45, luggage * 0.3, luggage * 0.25)
    return _Wear(
        top=str(rng.choice(tops, p=[0.28, 0.27, 0.12, 0.08, 0.15, 0.10])),
        legs=str(rng.choice(legs, p=[0.6, 0.15, 0.13, 0.12])),
        short_sleeves=bool(rng.random() < 0.35),
        hair=str(rng.choice(["short", "long", "bald", "hat"], p=[0.5, 0.25, 0.1, 0.15])),
        luggage=str(rng.choice(bags, p=odds)),
        glasses=bool(rng.random() < 0.12),
    )


@cache
def pedestrian(variant: int, phase: int) -> Mesh:
    """Mesh of a pedestrian. Every fourth variant stands, the others walk."""
    rng = np.random.default_rng((variant, 11))
    height, build = rng.uniform(0.94, 1.09), rng.uniform(0.92, 1.15)
    wear = _wear(rng, 0.6)
    pose = str(rng.choice(["swing", "pocket", "phone"], p=[0.7, 0.15, 0.15]))
    standing = variant % 4 == 3
    b = Builder()
    swing = 0.08 if standing else 0.47 * np.sin(2 * np.pi * (phase + 0.5) / PHASES)
    hip, shoulder = 0.90 * height, 1.43 * height
    for sign in (-1, 1):
        _leg(b, sign, hip, sign * swing, 0.085 * build, wear.legs)
        arm = pose if pose != "phone" or sign > 0 else "swing"
        _arm(b, sign, shoulder, -sign * swing * 0.8, 0.052 * build, wear.short_sleeves, arm)
    rings = [
        (0.0, hip - 0.04, 0.12 * build, 0.16 * build),
        (0.0, (hip + shoulder) / 2, 0.12 * build, 0.165 * build),
        (0.0, shoulder - 0.07, 0.125 * build, 0.205 * build),
        (0.0, shoulder + 0.02, 0.075 * build, 0.11 * build),
    ]
    _torso(b, rings, wear)
    _head(b, 0.04, shoulder + 0.20 * height, wear)
    if wear.legs == "skirt":
        b.loft([_oval(0, hip, 0.15, 0.19), _oval(0, 0.48 * height, 0.24, 0.26)], Slot.TROUSERS,
               closed=True, hull=Slot.TROUSERS)  # fmt: skip
    elif wear.legs == "coat":
        b.loft([_oval(0, hip + 0.05, 0.14, 0.18), _oval(0, 0.52 * height, 0.2, 0.23)], Slot.SHIRT,
               closed=True, hull=Slot.SHIRT)  # fmt: skip
    _luggage(b, wear.luggage, hip, shoulder)
    return b.finish()


def _oval(x: float, z: float, depth: float, half: float, sides: int = 8) -> np.ndarray:
    turn = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    return np.stack([x + depth * np.cos(turn), half * np.sin(turn), np.full(sides, z)], axis=1)


def _leg(b: Builder, sign: int, hip: float, angle: float, radius: float, legs: str) -> None:
    thigh, shin = hip * 0.5, hip * 0.46
    y = sign * radius * 1.15
    upper = Slot.SKIN if legs == "skirt" else Slot.TROUSERS
    lower = Slot.SKIN if legs in ("skirt", "shorts") else Slot.TROUSERS
    knee = np.array([thigh * np.sin(angle), y, hip - thigh * np.cos(angle)])
    bend = angle - max(0.0, -angle) * 0.7
    ankle = knee + shin * np.array([np.sin(bend), 0, -np.cos(bend)])
    b.tube((0, y, hip + 0.03), knee, radius, upper, end_radius=radius * 0.75)
    b.tube(knee, ankle, radius * 0.75, lower, end_radius=radius * 0.6)
    low = ankle - (0.07, 0.05, 0.05)
    b.box(low, low + (0.28, 0.10, 0.10), Slot.SHOES)


def _arm(b: Builder, sign: int, shoulder: float, angle: float, radius: float, short: bool,
         pose: str) -> None:  # fmt: skip
    top = np.array([0.0, sign * radius * 4.3, shoulder - 0.05])
    bend = 0.35
    if pose == "pocket":
        angle, bend = -0.45, 0.9
    elif pose == "phone":
        angle, bend = 0.25, 1.7
    elbow = top + 0.29 * np.array([np.sin(angle), sign * 0.18, -np.cos(angle)])
    reach = angle + bend
    hand = elbow + 0.26 * np.array([np.sin(reach), 0, -np.cos(reach)])
    b.tube(top, elbow, radius, Slot.SHIRT, end_radius=radius * 0.85)
    lower = Slot.SKIN if short else Slot.SHIRT
    b.tube(elbow, hand, radius * 0.85, lower, end_radius=radius * 0.6)
    tip = hand + 0.09 * np.array([np.sin(reach), 0, -np.cos(reach)])
    b.tube(hand, tip, radius * 0.8, Slot.SKIN)
    if pose == "phone":
        b.box(tip - (0.02, 0.04, 0.02), tip + (0.02, 0.04, 0.12), Slot.DARK)


def _torso(b: Builder, rings: list[tuple[float, float, float, float]], wear: _Wear) -> None:
    """Add a clothed torso through ovals (x, z, depth, half width), from the hips up."""
    rows = np.asarray(rings)
    if wear.top in ("hoops", "checks"):
        places = np.array([0, 0.5, 1, 1.5, 2, 3])
        rows = np.stack([np.interp(places, np.arange(4), row) for row in rows.T], axis=1)
    ovals = [_oval(*row) for row in rows]
    for k in range(len(ovals) - 1):
        slots = [Slot.SHIRT] * 8
        if wear.top == "open":
            slots[7] = Slot.PATTERN
        elif (wear.top == "vest" and k < 2) or (wear.top == "hoops" and k % 2):
            slots = [Slot.PATTERN] * 8
        elif wear.top == "checks":
            slots = [Slot.PATTERN if (j + k) % 2 else Slot.SHIRT for j in range(8)]
        b.loft(ovals[k : k + 2], slots, closed=True)
    b.hull(ovals, Slot.SHIRT)
    b.polygon(ovals[-1], Slot.SHIRT, inside=(rows[-1, 0], 0, rows[0, 1]))
    if wear.top == "print":
        (x, z, depth, _), above = rows[1], rows[2]
        low, high = z * 0.7 + above[1] * 0.3, above[1] - 0.01
        front = [x + depth, above[0] + above[2]]
        place = np.interp([low, high], [z, above[1]], front)
        outline = [(place[0], -0.08, low), (place[0], 0.08, low), (place[1], 0.08, high),
                   (place[1], -0.08, high)]  # fmt: skip
        b.polygon(outline, Slot.PATTERN, 2, inside=(x - 0.1, 0, z))


def _head(b: Builder, x: float, z: float, wear: _Wear) -> None:
    """Add a head and a neck, with skin in front and hair behind and on top."""
    b.tube((x - 0.02, 0, z - 0.24), (x - 0.01, 0, z - 0.09), 0.055, Slot.SKIN)
    ovals = [_oval(x + 0.01, z - 0.13, 0.06, 0.045), _oval(x + 0.005, z - 0.07, 0.09, 0.07),
             _oval(x, z + 0.02, 0.105, 0.08), _oval(x - 0.005, z + 0.075, 0.098, 0.076),
             _oval(x - 0.01, z + 0.12, 0.055, 0.045)]  # fmt: skip
    top = Slot.SKIN if wear.hair == "bald" else Slot.BAG if wear.hair == "hat" else Slot.HAIR
    behind = Slot.SKIN if wear.hair == "bald" else Slot.HAIR
    for k in range(4):
        slots = [Slot.SKIN if j in _FRONT else behind for j in range(8)]
        if k == 0:
            slots = [Slot.SKIN] * 8
        elif k == 1 and wear.hair != "long":
            slots = [behind if j in _BACK else Slot.SKIN for j in range(8)]
        elif k == 3:
            slots = [top] * 8
        b.loft(ovals[k : k + 2], slots, closed=True)
    b.hull(ovals, behind)
    b.polygon(ovals[-1], top, inside=(x, 0, z))
    if wear.hair == "long":
        b.box((x - 0.125, -0.085, z - 0.27), (x - 0.05, 0.085, z + 0.03), Slot.HAIR, 2)
    elif wear.hair == "hat":
        b.box((x - 0.02, -0.085, z + 0.065), (x + 0.19, 0.085, z + 0.085), Slot.BAG)
    if wear.glasses:
        low, high = (x + 0.106, -0.06, z), (x + 0.106, 0.06, z + 0.04)
        b.panel(low, high, Slot.DARK, 3, inside=(x, 0, z))


def _luggage(b: Builder, kind: str, hip: float, shoulder: float) -> None:
    if kind == "pack":
        b.box((-0.31, -0.155, hip + 0.1), (-0.12, 0.155, shoulder), Slot.BAG)
        low, high = (-0.312, -0.1, hip + 0.14), (-0.312, 0.1, hip + 0.3)
        b.panel(low, high, Slot.PATTERN, 2, inside=(-0.2, 0, hip + 0.2))
        for y in (-0.12, 0.12):
            _strap(b, (0.128, y, hip + 0.2), (0.11, y, shoulder))
    elif kind == "shoulder":
        b.box((-0.16, 0.2, hip - 0.12), (0.16, 0.33, hip + 0.14), Slot.BAG)
        _strap(b, (0.128, 0.15, hip + 0.1), (0.12, -0.12, shoulder))
        _strap(b, (-0.128, 0.15, hip + 0.1), (-0.12, -0.12, shoulder))
    elif kind == "hand":
        b.box((-0.14, 0.26, hip - 0.48), (0.14, 0.36, hip - 0.15), Slot.BAG)


def _strap(b: Builder, low, high) -> None:
    low, high, side = np.asarray(low), np.asarray(high), np.array([0, 0.022, 0])
    b.polygon([low - side, low + side, high + side, high - side], Slot.BAG, 2,
              inside=(0, 0, low[2]))  # fmt: skip


@cache
def cyclist(variant: int, phase: int) -> Mesh:
    """Mesh of a cyclist on a bicycle."""
    rng = np.random.default_rng((variant, 13))
    b = Builder()
    wear, helmet = _wear(rng, 0.4), rng.random() < 0.4
    hip, lean = 0.98, rng.uniform(0.12, 0.42)
    bicycle(b, rng)
    shoulder = hip + np.sqrt(0.52**2 - lean**2) + 0.02
    for sign in (-1, 1):
        turn = 2 * np.pi * phase / PHASES + (np.pi if sign > 0 else 0)
        foot = np.array([0.02 + 0.16 * np.cos(turn), sign * 0.12, 0.29 + 0.16 * np.sin(turn)])
        _riding_leg(b, foot, np.array([-0.22, sign * 0.10, hip]), wear.legs)
        _riding_arm(b, np.array([-0.2 + lean, sign * 0.2, shoulder - 0.05]), sign, wear)
    rings = [
        (-0.22, hip - 0.06, 0.13, 0.17),
        (-0.22 + lean * 0.5, (hip + shoulder) / 2, 0.13, 0.17),
        (-0.2 + lean * 0.9, shoulder - 0.06, 0.125, 0.205),
        (-0.2 + lean, shoulder + 0.02, 0.08, 0.11),
    ]
    _torso(b, rings, wear)
    x, z = -0.13 + lean * 1.1, shoulder + 0.2
    _head(b, x, z, wear)
    if helmet:
        b.loft([_oval(x - 0.02, z + 0.03, 0.13, 0.095), _oval(x - 0.03, z + 0.12, 0.10, 0.075),
                _oval(x - 0.03, z + 0.15, 0.05, 0.04)], Slot.SIGN, 3, closed=True,
               hull=Slot.SIGN)  # fmt: skip
    if wear.luggage == "pack":
        b.box((-0.46, -0.17, shoulder - 0.42), (-0.3 + lean / 2, 0.17, shoulder - 0.04), Slot.BAG)
    return b.finish()


def _riding_arm(b: Builder, top: np.ndarray, sign: int, wear: _Wear) -> None:
    grip = np.array([0.42, sign * 0.25, 1.02])
    elbow = (top + grip) / 2 + (-0.03, sign * 0.04, -0.07)
    b.tube(top, elbow, 0.052, Slot.SHIRT, end_radius=0.045)
    b.tube(elbow, grip, 0.042, Slot.SKIN if wear.short_sleeves else Slot.SHIRT)
    b.box(grip - (0.03, 0.05, 0.03), grip + (0.05, 0.05, 0.04), Slot.SKIN)


def _riding_leg(b: Builder, foot: np.ndarray, hip: np.ndarray, legs: str) -> None:
    reach = foot - hip
    span = np.linalg.norm(reach)
    bend = np.sqrt(max(0.44**2 - (span / 2) ** 2, 0.0))
    forward = np.array([-reach[2], 0, reach[0]]) / np.hypot(reach[0], reach[2])
    knee = (foot + hip) / 2 + bend * forward
    b.tube(hip, knee, 0.085, Slot.TROUSERS, end_radius=0.06)
    lower = Slot.SKIN if legs in ("skirt", "shorts") else Slot.TROUSERS
    b.tube(knee, foot, 0.06, lower, end_radius=0.045)
    b.box(foot - (0.08, 0.04, 0.05), foot + (0.18, 0.05, 0.04), Slot.SHOES)
