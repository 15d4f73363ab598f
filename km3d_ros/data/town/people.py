"""Pedestrians and cyclists in the phases of their stride."""

from __future__ import annotations

from functools import cache

import numpy as np

from km3d_ros.data.town.meshes import Builder, Mesh, Slot, disc

PHASES = 8
"""Phases of one stride, or of one turn of the pedals."""


@cache
def pedestrian(variant: int, phase: int) -> Mesh:
    """A walking (or, every fourth variant, standing) person; even variants are broader."""
    rng = np.random.default_rng((variant, 11))
    height = rng.uniform(0.92, 1.06)
    build = rng.uniform(0.9, 1.15)
    standing = variant % 4 == 3
    b = Builder()
    swing = 0.08 if standing else 0.42 * np.sin(2 * np.pi * phase / PHASES)
    skirt = rng.random() < 0.15
    hip, shoulder = 0.90 * height, 1.42 * height
    for sign in (-1, 1):
        _leg(b, sign, hip, sign * swing, 0.085 * build, skirt)
        _arm(b, sign, shoulder, -sign * swing * 0.8, 0.05 * build)
    _torso(b, hip, shoulder, build)
    _head(b, 0.04, shoulder + 0.19 * height)
    if skirt:
        rings = [_oval(0, hip, 0.15, 0.19), _oval(0, 0.5 * height, 0.22, 0.25)]
        b.loft(rings, Slot.TROUSERS, closed=True, hull=Slot.TROUSERS)
    if rng.random() < 0.3:
        b.box((-0.30, -0.15, hip + 0.1), (-0.13, 0.15, shoulder), Slot.BAG)
    elif rng.random() < 0.25:
        b.box((-0.12, 0.25, 0.45), (0.14, 0.36, 0.72), Slot.BAG)
    return b.finish()


def _oval(x: float, z: float, depth: float, half: float, sides: int = 8) -> np.ndarray:
    turn = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    return np.stack([x + depth * np.cos(turn), half * np.sin(turn), np.full(sides, z)], axis=1)


def _leg(b: Builder, sign: int, hip: float, angle: float, radius: float, bare: bool) -> None:
    thigh, shin = hip * 0.5, hip * 0.46
    y = sign * radius * 1.15
    slot = Slot.SKIN if bare else Slot.TROUSERS
    knee = np.array([thigh * np.sin(angle), y, hip - thigh * np.cos(angle)])
    bend = angle - max(0.0, -angle) * 0.7
    ankle = knee + shin * np.array([np.sin(bend), 0, -np.cos(bend)])
    b.tube((0, y, hip + 0.03), knee, radius, slot, end_radius=radius * 0.75)
    b.tube(knee, ankle, radius * 0.75, slot, end_radius=radius * 0.55)
    low = ankle - (0.06, 0.045, 0.05)
    b.box(low, low + (0.25, 0.09, 0.09), Slot.SHOES)


def _arm(b: Builder, sign: int, shoulder: float, angle: float, radius: float) -> None:
    top = np.array([0.0, sign * radius * 4.3, shoulder - 0.05])
    elbow = top + 0.28 * np.array([np.sin(angle), sign * 0.12, -np.cos(angle)])
    hand = elbow + 0.25 * np.array([np.sin(angle + 0.35), 0, -np.cos(angle + 0.35)])
    b.tube(top, elbow, radius, Slot.SHIRT, end_radius=radius * 0.85)
    b.tube(elbow, hand, radius * 0.85, Slot.SHIRT, end_radius=radius * 0.6)
    b.tube(hand, hand + (0.01, 0, -0.08), radius * 0.75, Slot.SKIN)


def _torso(b: Builder, hip: float, shoulder: float, build: float, lean: float = 0.0) -> None:
    middle = (hip + shoulder) / 2
    rings = [
        _oval(0, hip - 0.04, 0.12 * build, 0.16 * build),
        _oval(lean * 0.4, middle, 0.12 * build, 0.165 * build),
        _oval(lean * 0.9, shoulder - 0.06, 0.125 * build, 0.20 * build),
        _oval(lean, shoulder + 0.02, 0.08 * build, 0.12 * build),
    ]
    b.loft(rings, Slot.SHIRT, closed=True, hull=Slot.SHIRT)
    b.polygon(rings[-1], Slot.SHIRT, inside=(lean, 0, hip))


def _head(b: Builder, x: float, z: float) -> None:
    inside = (x, 0, z)
    rings = [
        _oval(x, z - 0.17, 0.05, 0.05),
        _oval(x, z - 0.10, 0.07, 0.06),
        _oval(x, z, 0.10, 0.08),
        _oval(x - 0.01, z + 0.07, 0.09, 0.075),
    ]
    b.loft(rings, Slot.SKIN, closed=True, hull=Slot.SKIN)
    cap = [
        _oval(x - 0.025, z - 0.03, 0.095, 0.085),
        _oval(x - 0.02, z + 0.06, 0.10, 0.085),
        _oval(x - 0.02, z + 0.12, 0.06, 0.05),
    ]
    b.loft(cap, Slot.HAIR, closed=True, hull=Slot.HAIR)
    b.polygon(cap[-1], Slot.HAIR, inside=inside)


@cache
def cyclist(variant: int, phase: int) -> Mesh:
    """A person riding a bicycle."""
    rng = np.random.default_rng((variant, 13))
    b = Builder()
    _bicycle(b, rng)
    hip, lean = 0.98, rng.uniform(0.12, 0.42)
    shoulder = hip + np.sqrt(0.50**2 - lean**2) + 0.02
    for sign in (-1, 1):
        turn = 2 * np.pi * phase / PHASES + (np.pi if sign > 0 else 0)
        foot = np.array([0.02 + 0.16 * np.cos(turn), sign * 0.12, 0.29 + 0.16 * np.sin(turn)])
        _riding_leg(b, foot, np.array([-0.22, sign * 0.10, hip]))
        top = np.array([-0.2 + lean, sign * 0.2, shoulder - 0.05])
        grip = np.array([0.42, sign * 0.24, 1.02])
        b.tube(top, (top + grip) / 2 - (0, 0, 0.06), 0.05, Slot.SHIRT)
        b.tube((top + grip) / 2 - (0, 0, 0.06), grip, 0.04, Slot.SHIRT)
    rings = [
        _oval(-0.22, hip - 0.06, 0.13, 0.17),
        _oval(-0.22 + lean * 0.5, (hip + shoulder) / 2, 0.13, 0.17),
        _oval(-0.2 + lean, shoulder, 0.10, 0.20),
    ]
    b.loft(rings, Slot.SHIRT, closed=True, hull=Slot.SHIRT)
    b.polygon(rings[-1], Slot.SHIRT, inside=(-0.2, 0, hip))
    _head(b, -0.13 + lean * 1.1, shoulder + 0.18)
    if rng.random() < 0.3:
        b.box((-0.45, -0.17, shoulder - 0.42), (-0.3 + lean / 2, 0.17, shoulder - 0.04), Slot.BAG)
    return b.finish()


def _riding_leg(b: Builder, foot: np.ndarray, hip: np.ndarray) -> None:
    reach = foot - hip
    span = np.linalg.norm(reach)
    bend = np.sqrt(max(0.44**2 - (span / 2) ** 2, 0.0))
    forward = np.array([-reach[2], 0, reach[0]]) / np.hypot(reach[0], reach[2])
    knee = (foot + hip) / 2 + bend * forward
    b.tube(hip, knee, 0.085, Slot.TROUSERS, end_radius=0.06)
    b.tube(knee, foot, 0.06, Slot.TROUSERS, end_radius=0.045)
    b.box(foot - (0.08, 0.04, 0.05), foot + (0.16, 0.04, 0.03), Slot.SHOES)


def _bicycle(b: Builder, rng: np.random.Generator) -> None:
    radius = rng.uniform(0.32, 0.35)
    front, rear, pedals = 0.56, -0.52, np.array([0.0, 0, 0.29])
    for x in (front, rear):
        outer, inner = (disc((x, 0, radius), r, 14) for r in (radius, radius - 0.045))
        for k in range(14):
            j = (k + 1) % 14
            b.polygon((outer[k], outer[j], inner[j], inner[k]), Slot.TYRE, two_sided=True)
        b.tube((x, -0.03, radius), (x, 0.03, radius), 0.035, Slot.DARK)
    seat, neck = np.array([-0.2, 0, 0.92]), np.array([0.4, 0, 0.9])
    frame = [(pedals, seat), (pedals, neck - (0.02, 0, 0.1)), (seat - (0, 0, 0.1), neck),
             ((rear, 0, radius), pedals), ((rear, 0, radius), seat - (0, 0, 0.12)),
             (neck, (front, 0, radius)), (neck, neck + (0.02, 0, 0.12))]  # fmt: skip
    for start, end in frame:
        b.tube(start, end, 0.018, Slot.PAINT, sides=4)
    b.tube((0.42, -0.27, 1.02), (0.42, 0.27, 1.02), 0.015, Slot.DARK, sides=4)
    b.box((-0.33, -0.07, 0.9), (-0.1, 0.07, 0.96), Slot.DARK)
