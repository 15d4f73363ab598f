"""Meshes of trucks and buses."""

from __future__ import annotations

from functools import cache

import numpy as np

from km3d_ros.town.meshes import Builder, Mesh, Slot, disc


@cache
def truck(variant: int) -> Mesh:
    """Mesh of a truck with a cab, a cargo box and six wheels."""
    rng = np.random.default_rng((variant, 77))
    length, width, height = rng.uniform(6.5, 9.5), rng.uniform(2.3, 2.5), rng.uniform(2.9, 3.6)
    cab, half = rng.uniform(1.7, 2.2), width / 2
    b = Builder()
    front, rear = length / 2, -length / 2
    cab_top = min(height, rng.uniform(2.5, 3.0))
    b.box((rear + 0.3, -half * 0.7, 0.5), (front - 0.2, half * 0.7, 0.95), Slot.DARK, 1)
    for x in (front - 1.2, rear + 1.1, rear + 2.2):
        _wheels(b, x, half, (0.98, 0.99), 2)
    b.box((rear, -half, 0.95), (front - cab - 0.1, half, height), Slot.CARGO, 5)
    b.panel((rear, -0.02, 1.0), (rear, 0.02, height - 0.1), Slot.DARK, 6, (0, 0, 1))
    for sign in (-1, 1):
        _truck_lamps(b, rear, front, sign, half)
    b.box((front - cab, -half * 0.97, 0.45), (front - 0.02, half * 0.97, cab_top), Slot.PAINT, 7)
    _cab_details(b, front, half, cab, cab_top)
    return b.finish()


@cache
def bus(variant: int) -> Mesh:
    """Mesh of a city bus with four wheels, rows of windows and doors on the right."""
    rng = np.random.default_rng((variant, 78))
    length, width, height = rng.uniform(10.5, 12.5), rng.uniform(2.5, 2.55), rng.uniform(2.9, 3.3)
    half, front, rear = width / 2, length / 2, -length / 2
    sill, top = rng.uniform(1.15, 1.35), height - rng.uniform(0.45, 0.6)
    b = Builder()
    for x in (front - 2.7, rear + 3.0):
        _wheels(b, x, half, (0.99, 0.995), 0)
    b.box((rear, -half, 0.32), (front, half, height), Slot.PAINT, 1)
    panes = int(rng.integers(5, 8))
    edges = np.linspace(rear + 0.4, front - 0.5, panes + 1)
    for sign in (-1, 1):
        y = sign * half * 1.0
        for start, end in zip(edges[:-1] + 0.05, edges[1:] - 0.05, strict=True):
            b.panel((start, y, sill), (end, y, top), Slot.GLASS, 2, (0, 0, sill))
        _truck_lamps(b, rear, front, sign, half)
    for x in (front - 1.5, edges[panes // 2] + 0.3):
        b.panel((x, -half, 0.4), (x + 1.1, -half, top), Slot.DARK, 2, (x, 0, 1.0))
    for x, low in ((front, 1.0), (rear, sill + 0.1)):
        b.polygon([(x, -half * 0.92, low), (x, half * 0.92, low), (x, half * 0.9, top + 0.1),
                   (x, -half * 0.9, top + 0.1)], Slot.GLASS, 2, (0, 0, low))  # fmt: skip
    low, high = (front, -half * 0.6, top + 0.14), (front, half * 0.6, height - 0.08)
    b.panel(low, high, Slot.ORANGE, 3, (0, 0, top))
    return b.finish()


def _wheels(b: Builder, x: float, half: float, sides: tuple[float, float], layer: int) -> None:
    """Add the wheels of an axle; `sides`: of the tyre and of the rim, in half widths."""
    for sign in (-1, 1):
        tyre = [disc((x, sign * y, 0.48), 0.48, 12) for y in (half * sides[0], half - 0.3)]
        b.loft(tyre, Slot.TYRE, layer, closed=True, hull=Slot.TYRE)
        b.polygon(tyre[0], Slot.TYRE, 3, (x, 0, 0.48))
        rim = disc((x, sign * half * sides[1], 0.48), 0.24, 10)
        b.polygon(rim, Slot.RIM, 4, (x, 0, 0.48))


def _truck_lamps(b: Builder, rear: float, front: float, sign: int, half: float) -> None:
    a, c = sign * half * 0.6, sign * half * 0.95
    inside = (0.0, 0.0, 0.8)
    b.panel((rear, a, 0.98), (rear, c, 1.12), Slot.TAIL, 6, inside)
    b.panel((front, a, 0.7), (front, c, 0.92), Slot.HEAD, 9, inside)


def _cab_details(b: Builder, front: float, half: float, cab: float, top: float) -> None:
    inside = (front - cab / 2, 0.0, 1.2)
    glass, sill = top - 0.25, top - 1.15
    b.polygon([(front, -half * 0.9, sill), (front, half * 0.9, sill),
               (front, half * 0.85, glass), (front, -half * 0.85, glass)],
              Slot.GLASS, 8, inside)  # fmt: skip
    low, high = (front, -half * 0.7, 0.95), (front, half * 0.7, sill - 0.12)
    b.panel(low, high, Slot.DARK, 8, inside)
    for sign in (-1, 1):
        y = sign * half * 0.975
        b.polygon([(front - cab * 0.8, y, sill + 0.1), (front - 0.2, y, sill),
                   (front - 0.3, y, glass), (front - cab * 0.8, y, glass)],
                  Slot.GLASS, 8, inside)  # fmt: skip
