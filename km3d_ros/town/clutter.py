"""Meshes of unlabelled props as large as cars or cyclists: negative examples for training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from km3d_ros.town.bicycle import bicycle
from km3d_ros.town.meshes import Builder, Slot, disc


def _bicycle(b: Builder, rng: np.random.Generator) -> None:
    bicycle(b, rng)


def _trailer(b: Builder, rng: np.random.Generator) -> None:
    """A parked trailer without a car: open, or under a tarpaulin."""
    x, y = rng.uniform(1.0, 1.9), rng.uniform(0.6, 0.95)
    deck, top = rng.uniform(0.4, 0.55), rng.uniform(0.8, 2.1)
    for sign in (-1, 1):
        for part, slot, radius in ((0, Slot.TYRE, 0.29), (1, Slot.RIM, 0.16)):
            face = disc((0, sign * (y + 0.06 + 0.001 * part), 0.29), radius, 10)
            b.polygon(face, slot, 2 + part, (0, 0, 0.3))
        b.hull(disc((0, sign * (y + 0.06), 0.29), 0.29, 10), Slot.TYRE)
    b.box((-x, -y, deck), (x, y, top), Slot.PAINT, 4)
    if top < 1.2:
        b.polygon([(-x, -y, top), (x, -y, top), (x, y, top), (-x, y, top)], Slot.DARK, 5)
    b.box((-x - 0.01, -y, deck), (x, y, deck + 0.12), Slot.PATTERN, 5)
    for sign in (-1, 1):
        back, inner, outer = -x - 0.012, sign * y * 0.7, sign * y * 0.98
        low, high = (back, inner, deck + 0.02), (back, outer, deck + 0.1)
        b.panel(low, high, Slot.TAIL, 6, (0, 0, deck))
    b.tube((x, 0, deck - 0.05), (x + 1.0, 0, deck - 0.1), 0.05, Slot.METAL, sides=4)
    b.tube((x + 0.8, 0, 0), (x + 0.8, 0, deck), 0.04, Slot.METAL, sides=4)


def _bins(b: Builder, rng: np.random.Generator) -> None:
    """A row of wheeled bins."""
    y = 0.0
    for _ in range(int(rng.integers(2, 5))):
        wide, tall = rng.uniform(0.5, 0.65), rng.uniform(0.95, 1.15)
        slot = Slot(rng.choice([Slot.CARGO, Slot.TRIM, Slot.SHIRT]))
        b.box((-0.3, y, 0.08), (0.3, y + wide, tall), slot)
        b.box((-0.34, y - 0.02, tall), (0.34, y + wide + 0.02, tall + 0.08), Slot.TRIM, 2)
        y += wide + rng.uniform(0.05, 0.2)


def _planter(b: Builder, rng: np.random.Generator) -> None:
    x, y, z = rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.7)
    b.box((-x, -y, 0), (x, y, z), Slot.PATTERN)
    b.box((-x * 0.9, -y * 0.85, z), (x * 0.9, y * 0.85, z + rng.uniform(0.2, 0.7)), Slot.CARGO, 2)


def _kiosk(b: Builder, rng: np.random.Generator) -> None:
    x, y, z = rng.uniform(0.9, 2.0), rng.uniform(0.8, 1.2), rng.uniform(2.1, 2.8)
    b.box((-x, -y, 0), (x, y, z), Slot.PATTERN)
    b.box((-x - 0.2, -y - 0.2, z), (x + 0.2, y + 0.2, z + 0.2), Slot.CARGO, 3)
    panes = [((-x - 0.002, -0.7 * y), (-x - 0.002, 0.7 * y))]
    panes += [((-0.7 * x, s * (y + 0.002)), (0.7 * x, s * (y + 0.002))) for s in (-1, 1)]
    for first, last in panes:
        b.panel((*first, 0.4 * z), (*last, 0.85 * z), Slot.GLASS, 2, (0, 0, 1))


def _parasol(b: Builder, rng: np.random.Generator) -> None:
    radius, high = rng.uniform(1.0, 1.6), rng.uniform(2.2, 2.6)
    b.tube((0, 0, 0), (0, 0, high), 0.03, Slot.METAL, sides=4)
    b.tube((0, 0, high - 0.35), (0, 0, high), radius, Slot.SHIRT, sides=8, end_radius=0.05)
    b.box((0.4, -0.4, 0.70), (1.1, 0.4, 0.74), Slot.WOOD)
    b.tube((0.75, 0, 0), (0.75, 0, 0.7), 0.04, Slot.METAL, sides=4)


CLUTTER: dict[str, Callable[[Builder, np.random.Generator], None]] = {
    "bicycle": _bicycle,
    "trailer": _trailer,
    "bins": _bins,
    "planter": _planter,
    "kiosk": _kiosk,
    "parasol": _parasol,
}
