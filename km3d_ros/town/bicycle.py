"""Mesh of a bicycle, for cyclists and for parked bicycles."""

from __future__ import annotations

import numpy as np

from km3d_ros.town.meshes import Builder, Slot, disc


def bicycle(b: Builder, rng: np.random.Generator) -> None:
    """Add a bicycle that faces +x, with wheels at x = 0.56 and -0.52 m."""
    radius = rng.uniform(0.32, 0.35)
    front, rear, pedals = 0.56, -0.52, np.array([0.0, 0, 0.29])
    for x in (front, rear):
        _wheel(b, x, radius)
    seat, neck = np.array([-0.2, 0, 0.92]), np.array([0.4, 0, 0.9])
    low = (neck - (0.02, 0, 0.1)) if rng.random() < 0.6 else (neck - (0.02, 0, 0.22))
    frame = [(pedals, seat), (pedals, low), (seat - (0, 0, 0.1 + (neck - low)[2]), neck),
             ((rear, 0, radius), pedals), ((rear, 0, radius), seat - (0, 0, 0.12)),
             (neck, neck + (0.02, 0, 0.12))]  # fmt: skip
    for start, end in frame:
        b.tube(start, end, 0.02, Slot.PAINT, sides=4)
    for y in (-0.045, 0.045):
        b.tube(neck + (0, y, -0.03), (front, y, radius), 0.013, Slot.PAINT, sides=4)
    b.tube((0.42, -0.28, 1.02), (0.42, 0.28, 1.02), 0.015, Slot.DARK, sides=4)
    b.box((-0.33, -0.07, 0.9), (-0.1, 0.07, 0.96), Slot.DARK)
    b.box((0.47, -0.04, 0.86), (0.53, 0.04, 0.95), Slot.HEAD)
    b.box((-0.86, -0.04, 0.6), (-0.83, 0.04, 0.68), Slot.TAIL)
    _load(b, rng, radius)


def _load(b: Builder, rng: np.random.Generator, radius: float) -> None:
    """Add a rack, mudguards, a basket and panniers, each at random."""
    if rng.random() < 0.6:
        b.box((-0.85, -0.07, 0.74), (-0.35, 0.07, 0.77), Slot.DARK)
    if rng.random() < 0.5:
        for x in (0.56, -0.52):
            b.box((x - 0.2, -0.03, 2 * radius + 0.01), (x + 0.2, 0.03, 2 * radius + 0.03),
                  Slot.TRIM, hull=False)  # fmt: skip
    if rng.random() < 0.2:
        b.box((0.5, -0.17, 0.78), (0.76, 0.17, 1.02), Slot.WOOD)
    if rng.random() < 0.2:
        for sign in (-1, 1):
            low, high = sorted((sign * 0.08, sign * 0.22))
            b.box((-0.8, low, 0.42), (-0.45, high, 0.75), Slot.BAG)


def _wheel(b: Builder, x: float, radius: float) -> None:
    """Add a tyre, a hub and spokes. The tread makes the tyre visible from the front."""
    count, half = 14, 0.022
    outer, inner = (disc((x, 0, radius), r, count) for r in (radius, radius - 0.05))
    for k in range(count):
        j = (k + 1) % count
        b.polygon((outer[k], outer[j], inner[j], inner[k]), Slot.TYRE, two_sided=True)
    shift = np.array([0, half, 0])
    b.loft([outer - shift, outer + shift], Slot.TYRE, closed=True)
    b.hull([(x, y, z) for y in (-half, half) for z in (0.0, 2 * radius)], Slot.TYRE)
    for k in range(3):
        turn = np.pi * (k + 0.25) / 3
        tip = (radius - 0.05) * np.array([np.cos(turn), 0, np.sin(turn)])
        side = 0.007 * np.array([-np.sin(turn), 0, np.cos(turn)])
        hub = np.array([x, 0, radius])
        b.polygon([hub - tip - side, hub + tip - side, hub + tip + side, hub - tip + side],
                  Slot.RIM, two_sided=True)  # fmt: skip
    b.tube((x, -0.04, radius), (x, 0.04, radius), 0.035, Slot.DARK)
