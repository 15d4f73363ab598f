"""Meshes of barriers and railings along roads, in pieces of equal length."""

from __future__ import annotations

import numpy as np

from km3d_ros.town.meshes import Builder, Slot

PIECE = 12.0
"""Length of a piece in metres."""
_HALF = PIECE / 2


def _beam(b: Builder, low: float, high: float, front: float = -0.09, back: float = 0.09) -> None:
    """Add a W-beam: two ridges with a groove between them, on both sides."""
    rise = (high - low) * np.array([0.0, 0.3, 0.45, 0.55, 0.7, 1.0])
    bulge = np.array([1.0, 1.0, 0.45, 0.45, 1.0, 1.0])
    profile = [*zip(front * bulge, low + rise, strict=True)]
    profile += [*zip(back * bulge[::-1], low + rise[::-1], strict=True)]
    rings = [[(x, y, z) for y, z in profile] for x in (-_HALF, _HALF)]
    b.loft(rings, Slot.PATTERN, 2, closed=True, hull=Slot.PATTERN)


def _posts(b: Builder, step: float, height: float, half: float, slot: Slot) -> None:
    for x in np.arange(-_HALF + step / 2, _HALF, step):
        b.box((x - half, -half, 0), (x + half, half, height), slot, hull=False)


def _guard_rail(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(0.70, 0.82)
    _posts(b, float(rng.choice([2.0, 3.0, 4.0])), height - 0.02, 0.06, Slot.METAL)
    _beam(b, height - 0.31, height)


def _double_rail(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(0.9, 1.1)
    _posts(b, 2.0, height, 0.06, Slot.METAL)
    _beam(b, height - 0.31, height)
    _beam(b, height - 0.75, height - 0.45)


def _concrete(b: Builder, rng: np.random.Generator) -> None:
    height, foot = rng.uniform(0.75, 1.0), rng.uniform(0.25, 0.33)
    profile = [(-foot, 0.0), (-foot * 0.85, 0.12), (-foot * 0.45, 0.38), (-0.09, height)]
    profile += [(-y, z) for y, z in profile[::-1]]
    rings = [[(x, y, z) for y, z in profile] for x in (-_HALF, _HALF)]
    b.loft(rings, Slot.PATTERN, 2, hull=Slot.PATTERN)
    for x in np.arange(-_HALF + 3, _HALF, 3.0):
        for sign in (-1, 1):
            gap = [(x - 0.02, sign * foot * 0.46, 0.38), (x + 0.02, sign * foot * 0.46, 0.38),
                   (x + 0.02, sign * 0.1, height), (x - 0.02, sign * 0.1, height)]  # fmt: skip
            b.polygon(gap, Slot.DARK, 3, inside=(x, 0, 0.4))


def _tube_rail(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(0.8, 1.1)
    slot = Slot.PATTERN if rng.random() < 0.7 else Slot.CARGO
    _posts(b, 2.0, height, 0.035, slot)
    for z in (height, height * (0.55 if rng.random() < 0.7 else 0.15)):
        b.box((-_HALF, -0.03, z - 0.06), (_HALF, 0.03, z), slot, 2)


def _mesh_fence(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(1.0, 1.9)
    _posts(b, 3.0, height, 0.04, Slot.CARGO)
    for z in np.linspace(0.1, height, 5):
        b.box((-_HALF, -0.015, z - 0.04), (_HALF, 0.015, z), Slot.CARGO, 2)


BARRIERS = (_guard_rail, _double_rail, _concrete, _tube_rail, _mesh_fence)
