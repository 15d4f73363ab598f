"""Meshes of props: street furniture and other objects without a label, as negative examples."""

from __future__ import annotations

from functools import cache

import numpy as np

from km3d_ros.town.barriers import BARRIERS
from km3d_ros.town.bicycle import bicycle
from km3d_ros.town.meshes import Builder, Mesh, Slot, disc


@cache
def prop(name: str, variant: int) -> Mesh:
    """Mesh of the prop `name` of `PROPS`, in the design `variant`."""
    builder = Builder()
    PROPS[name](builder, np.random.default_rng((variant, 5)))
    return builder.finish()


def _lamp_post(b: Builder, rng: np.random.Generator) -> None:
    height, arm = rng.uniform(5, 8), rng.uniform(0.6, 2.0)
    b.tube((0, 0, 0), (0, 0, height), 0.09, Slot.METAL, end_radius=0.05)
    b.tube((0, 0, height - 0.05), (0, -arm, height + 0.2), 0.04, Slot.METAL, sides=4)
    b.box((-0.1, -arm - 0.35, height + 0.12), (0.1, -arm + 0.15, height + 0.24), Slot.SIGN)


def _pole(b: Builder, rng: np.random.Generator) -> None:
    slot = Slot.WOOD if rng.random() < 0.5 else Slot.METAL
    b.tube((0, 0, 0), (0, 0, rng.uniform(3, 9)), rng.uniform(0.05, 0.14), slot)


def _sign(b: Builder, rng: np.random.Generator) -> None:
    height, radius = rng.uniform(2.0, 2.8), rng.uniform(0.25, 0.4)
    corners = int(rng.choice([3, 4, 8, 12]))
    b.tube((0, 0, 0), (0, 0, height), 0.035, Slot.METAL, sides=4)
    turn = np.pi / 4 if corners == 4 else np.pi / 2 + (np.pi if rng.random() < 0.3 else 0)
    for layer, (r, slot) in enumerate(((1.0, Slot.TAIL), (0.8, Slot.SIGN), (0.35, Slot.DARK))):
        face = disc((0, 0, height + radius), radius * r, corners, turn)[:, [1, 0, 2]]
        b.polygon(face - (0.05 + 0.001 * layer, 0, 0), slot, 2 + layer, two_sided=True)
    b.hull(face, Slot.METAL)


def _traffic_light(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(2.4, 3.2)
    b.tube((0, 0, 0), (0, 0, height), 0.06, Slot.METAL)
    b.box((-0.15, -0.15, height), (0.12, 0.15, height + 0.85), Slot.DARK)
    lit = rng.integers(3)
    for k, slot in enumerate((Slot.SHIRT, Slot.ORANGE, Slot.TAIL)):
        face = disc((0, 0, height + 0.17 + 0.26 * k), 0.095, 8)[:, [1, 0, 2]] - (0.16, 0, 0)
        b.polygon(face, slot if k == lit else Slot.TRIM, 2, (0, 0, height + 0.4))


def _bin(b: Builder, rng: np.random.Generator) -> None:
    x, y, z = rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.35), rng.uniform(0.85, 1.1)
    b.box((-x, -y, 0.05), (x, y, z), Slot.CARGO)
    b.box((-x - 0.03, -y - 0.03, z), (x + 0.03, y + 0.03, z + 0.08), Slot.TRIM, 2)


def _dumpster(b: Builder, rng: np.random.Generator) -> None:
    x, y, z = rng.uniform(0.7, 1.5), rng.uniform(0.5, 0.8), rng.uniform(1.1, 1.5)
    b.box((-x, -y, 0.15), (x, y, z), Slot.CARGO)
    b.box((-x, -y - 0.04, z), (x, y + 0.04, z + 0.12), Slot.DARK, 2)


def _cabinet(b: Builder, rng: np.random.Generator) -> None:
    b.box((-0.2, -rng.uniform(0.3, 0.7), 0), (0.2, 0.5, rng.uniform(0.9, 1.4)), Slot.METAL)


def _billboard(b: Builder, rng: np.random.Generator) -> None:
    half, low, high = rng.uniform(0.6, 2.0), rng.uniform(0.4, 2.2), rng.uniform(1.2, 2.2)
    for y in (-half * 0.8, half * 0.8):
        b.tube((0, y, 0), (0, y, low), 0.06, Slot.METAL, sides=4)
    b.box((-0.08, -half, low), (0.08, half, low + high), Slot.METAL)
    inside = (0, 0, low + high / 2)
    for k, slot in enumerate((Slot.SIGN, Slot.SHIRT, Slot.ORANGE)):
        y = np.sort(rng.uniform(-half, half, 2)) if k else np.array([-half, half]) * 0.93
        z = low + high * (np.sort(rng.uniform(0.1, 0.9, 2)) if k else np.array([0.06, 0.94]))
        b.panel((-0.081, y[0], z[0]), (-0.081, y[1], z[1]), slot, 2 + k, inside)


def _bollard(b: Builder, rng: np.random.Generator) -> None:
    b.tube((0, 0, 0), (0, 0, rng.uniform(0.7, 1.0)), 0.07, Slot.METAL)


def _cone(b: Builder, rng: np.random.Generator) -> None:
    height = rng.uniform(0.5, 0.75)
    b.box((-0.18, -0.18, 0), (0.18, 0.18, 0.04), Slot.DARK)
    cuts = (0.03, 0.4, 0.65, 1.0)
    for k in range(3):
        z0, z1 = cuts[k] * height, cuts[k + 1] * height
        r0, r1 = 0.15 - 0.12 * cuts[k], 0.15 - 0.12 * cuts[k + 1]
        slot = Slot.SIGN if k == 1 else Slot.ORANGE
        b.tube((0, 0, z0), (0, 0, z1), r0, slot, sides=8, end_radius=r1)


def _beacon(b: Builder, rng: np.random.Generator) -> None:
    """A striped board at road works, with or without a lamp."""
    half, low = rng.uniform(0.11, 0.16), rng.uniform(0.1, 0.25)
    height = rng.uniform(0.85, 1.1)
    b.box((-0.2, -0.35, 0), (0.25, 0.35, 0.1), Slot.DARK)
    b.box((-0.03, -half, low), (0.03, half, low + height), Slot.SIGN, 2)
    slant, count = rng.choice([-1, 1]) * 2 * half, 4
    step = (height - 2 * half) / count
    for face in (-0.031, 0.031):
        for k in range(count):
            z = low + 2 * half * (slant < 0) + step * k
            stripe = [(face, -half, z), (face, half, z + slant),
                      (face, half, z + slant + step / 2), (face, -half, z + step / 2)]  # fmt: skip
            b.polygon(stripe, Slot.TAIL, 3, (0, 0, low + height / 2))
    if rng.random() < 0.6:
        top = low + height
        b.tube((0, 0, top), (0, 0, top + 0.12), 0.05, Slot.DARK, sides=6)
        b.tube((0, 0, top + 0.12), (0, 0, top + 0.28), 0.09, Slot.ORANGE, sides=8)


def _low_sign(b: Builder, rng: np.random.Generator) -> None:
    """A sign near the ground: keep right, a chevron, or an advertising board."""
    slot = Slot(rng.choice([Slot.SHIRT, Slot.CARGO, Slot.TAIL, Slot.SIGN]))
    if rng.random() < 0.5:
        height, radius = rng.uniform(0.6, 1.0), rng.uniform(0.25, 0.38)
        b.tube((0, 0, 0), (0, 0, height + radius), 0.04, Slot.METAL, sides=4)
        corners = int(rng.choice([4, 12]))
        for layer, (r, color) in enumerate(((1.0, Slot.SIGN), (0.93, slot), (0.3, Slot.SIGN))):
            face = disc((0, 0, height + radius), radius * r, corners, np.pi / 4)[:, [1, 0, 2]]
            b.polygon(face - (0.05 + 0.001 * layer, 0, 0), color, 2 + layer, two_sided=True)
    else:
        half, height = rng.uniform(0.3, 0.45), rng.uniform(0.9, 1.3)
        b.box((-0.12, -half, 0.02), (0.12, half, height), Slot.DARK)
        y, low, high = half * 0.9, 0.15, height - 0.06
        b.panel((-0.121, -y, low), (-0.121, y, high), slot, 2, (0, 0, height / 2))


def _marker_post(b: Builder, rng: np.random.Generator) -> None:
    """A white post beside a country road, with a dark band and a reflector."""
    height = rng.uniform(0.9, 1.05)
    b.box((-0.05, -0.06, 0), (0.05, 0.06, height), Slot.SIGN)
    b.box((-0.052, -0.062, height - 0.3), (0.052, 0.062, height - 0.08), Slot.DARK, 2)
    low, high = (-0.053, -0.03, height - 0.26), (-0.053, 0.03, height - 0.12)
    b.panel(low, high, Slot.ORANGE, 3, (0, 0, height / 2))


def _bench(b: Builder, rng: np.random.Generator) -> None:
    half = rng.uniform(0.7, 1.0)
    for y in (-half * 0.8, half * 0.8):
        b.box((-0.2, y - 0.04, 0), (0.2, y + 0.04, 0.42), Slot.METAL)
    b.box((-0.22, -half, 0.42), (0.22, half, 0.47), Slot.WOOD)
    b.box((-0.25, -half, 0.6), (-0.21, half, 0.85), Slot.WOOD)


def _shelter(b: Builder, rng: np.random.Generator) -> None:
    half = rng.uniform(1.4, 2.2)
    for x in (-0.6, 0.6):
        for y in (-half, half):
            b.tube((x, y, 0), (x, y, 2.3), 0.04, Slot.METAL, sides=4)
    b.box((-0.8, -half - 0.1, 2.3), (0.8, half + 0.1, 2.42), Slot.METAL)
    b.box((0.58, -half, 0.2), (0.62, half, 2.2), Slot.GLARE)


def _railing(b: Builder, rng: np.random.Generator) -> None:
    half, height = rng.uniform(2.0, 4.0), rng.uniform(0.8, 1.1)
    for z in (0.15, height):
        b.box((-half, -0.025, z - 0.03), (half, 0.025, z), Slot.METAL)
    for x in np.arange(-half, half, 0.28):
        b.panel((x, 0, 0), (x + 0.03, 0, height), Slot.METAL, two_sided=True)


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


_DESIGNS = (
    *(_lamp_post, _pole, _sign, _traffic_light, _bin, _dumpster, _cabinet, _billboard, _bollard),
    *(_cone, _beacon, _low_sign, _marker_post, _bench, _shelter, _railing),
    *(bicycle, _trailer, _bins, _planter, _kiosk, _parasol),
    *BARRIERS,
)
PROPS = {draw.__name__.lstrip("_"): draw for draw in _DESIGNS}
"""Functions that add a prop to a mesh, by name."""
