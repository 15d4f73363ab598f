"""Layout of a street: cross-section, course, markings, buildings and trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.scene import Array, Block, Patch, Tree


@dataclass(frozen=True)
class Street:
    """Cross-section and course of a street; lengths in metres.

    Street coordinates are s along the street and u from the centre line. The ego's lanes have
    positive u. `side` is +1 for right-hand traffic and −1 for left-hand traffic.
    """

    kind: str
    side: int
    curvature: float
    lane: float
    lanes: tuple[int, int]  # number of lanes in the ego's direction, and in the opposite direction
    parking: tuple[str, str]  # '' (none), 'parallel' or 'angled': ego's side, other side
    sidewalk: tuple[float, float]
    setback: tuple[float, float]
    junction: float  # s of the centre line of a crossing street; infinite without one
    crossing: float  # half width of the crossing street
    length: float
    start: float

    @property
    def edges(self) -> tuple[float, float]:
        """u of the edges of the lanes: on the ego's side, and on the other side (not positive)."""
        return self.lanes[0] * self.lane, -self.lanes[1] * self.lane

    def kerb(self, ego_side: bool) -> float:
        """Absolute u of the kerb, beyond the lanes and the parking spaces."""
        k = 0 if ego_side else 1
        depth = {"": 0.0, "parallel": 2.1, "angled": 4.6}[self.parking[k]]
        return abs(self.edges[k]) + depth

    def on_crossing(self, s: float) -> bool:
        """Whether s lies in the crossing street, or within 2.5 m of it."""
        return abs(s - self.junction) < self.crossing + 2.5

    def place(self, s, u) -> tuple[Array, Array, Array]:
        """World x, z and heading (radians, clockwise from z) at street coordinates."""
        s, u = np.asarray(s, float), np.asarray(u, float) * self.side
        if abs(self.curvature) < 1e-6:
            return u + 0 * s, s + 0 * u, 0 * (s + u)
        heading = s * self.curvature
        radius = 1 / self.curvature
        c, sine = np.cos(heading), np.sin(heading)
        return radius * (1 - c) + u * c, radius * sine - u * sine, heading + 0 * u

    def strip(self, s0: float, s1: float, u0: float, u1: float, color: Array) -> Patch:
        """The strip between s0, s1 and u0, u1 in a linear BGR colour."""
        cuts = 2 if abs(self.curvature) < 1e-6 else max(2, int((s1 - s0) / 6) + 2)
        s = np.linspace(s0, s1, cuts)
        a, b = self.place(s, u0), self.place(s[::-1], u1)
        outline = np.stack([np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])], axis=1)
        return Patch(outline, color)


def sample_street(rng: np.random.Generator, length: float, start: float) -> Street:
    """Sample a city, residential or open street. Its kind sets the odds of later samples."""
    kind = str(rng.choice(["city", "residential", "open"], p=[0.45, 0.37, 0.18]))
    both = [1, 1] if kind == "residential" else [int(rng.integers(1, 3)), int(rng.integers(1, 3))]
    if rng.random() < 0.15:
        both[1] = 0
    odds = {"city": (0.2, 0.6, 0.2), "residential": (0.2, 0.6, 0.2), "open": (0.8, 0.2, 0.0)}
    parking = tuple(str(p) for p in rng.choice(["", "parallel", "angled"], 2, p=odds[kind]))
    crossed = rng.random() < (0.15 if kind == "open" else 0.4)
    back = {"city": (0.0, 3.0), "residential": (2.0, 9.0), "open": (8.0, 25.0)}[kind]
    return Street(
        kind=kind,
        side=1 if rng.random() < 0.85 else -1,
        curvature=float(rng.choice([0.0, rng.normal(0, 0.004)])),
        lane=float(rng.uniform(2.8, 3.6)),
        lanes=(both[0], both[1]),
        parking=parking,
        sidewalk=tuple(rng.uniform(0.8, 4.0, 2) * (0.5 if kind == "open" else 1.0)),
        setback=tuple(rng.uniform(*back, 2)),
        junction=float(rng.uniform(14, 50)) if crossed else np.inf,
        crossing=float(rng.uniform(2.8, 6.5)),
        length=length,
        start=start,
    )


def ground_patches(street: Street, rng: np.random.Generator) -> list[Patch]:
    """Sample sidewalks, roadway, repairs, kerbs and markings, in painting order."""
    asphalt = rng.uniform(0.07, 0.20) * rng.uniform(0.95, 1.06, 3)
    paving = rng.uniform(0.16, 0.36) * np.array([0.92, 0.97, 1.0]) * rng.uniform(0.95, 1.05, 3)
    kerb = paving * rng.uniform(1.1, 1.5)
    s0, s1 = street.start, street.length
    patches = []
    for ego_side, sign in ((True, 1), (False, -1)):
        edge = street.kerb(ego_side) * sign
        outer = edge + sign * street.sidewalk[0 if ego_side else 1]
        patches.append(street.strip(s0, s1, edge, outer, paving))
        patches.append(street.strip(s0, s1, edge, edge + sign * 0.14, kerb))
        parked = street.edges[0 if ego_side else 1]
        tone = asphalt * rng.uniform(0.85, 1.3)
        patches.append(street.strip(s0, s1, parked, edge, tone))
    right, left = street.edges
    patches.append(street.strip(s0, s1, left, right, asphalt))
    if np.isfinite(street.junction):
        low, high = street.junction - street.crossing, street.junction + street.crossing
        patches.append(street.strip(low, high, -60, 60, asphalt))
    patches += _repairs(street, rng, asphalt)
    return patches + _markings(street, rng)


def _repairs(street: Street, rng: np.random.Generator, asphalt: Array) -> list[Patch]:
    right, left = street.edges
    patches = []
    for _ in range(int(rng.integers(0, 7))):
        s, u = rng.uniform(street.start + 3, street.length * 0.7), rng.uniform(left, right)
        long, wide = rng.uniform(0.5, 9), rng.uniform(0.3, 1.6)
        tone = asphalt * rng.uniform(0.65, 1.3)
        patches.append(street.strip(s, s + long, max(u - wide, left), min(u + wide, right), tone))
    for _ in range(int(rng.integers(0, 4))):
        s, u = rng.uniform(street.start + 4, street.start + 40), rng.uniform(left, right)
        turn = np.arange(10) * 2 * np.pi / 10
        x, z, _ = street.place(s + 0.32 * np.sin(turn), u + 0.32 * np.cos(turn))
        patches.append(Patch(np.stack([x, z], 1), asphalt * 0.5))
    return patches


def _markings(street: Street, rng: np.random.Generator) -> list[Patch]:
    if street.kind == "residential" and rng.random() < 0.5:
        return []
    paint = rng.uniform(0.45, 0.8) * np.array([0.93, 0.97, 1.0])
    right, left = street.edges
    spans = [(street.start, street.length)]
    if np.isfinite(street.junction):
        low, high = street.junction - street.crossing, street.junction + street.crossing
        spans = [(street.start, low - 1), (high + 1, street.length)]
    patches = []
    for s0, s1 in spans:
        for k in range(-street.lanes[1] + 1, street.lanes[0]):
            solid = k == 0 and street.kind != "residential" and rng.random() < 0.4
            dash, gap = (s1 - s0, 1.0) if solid else (rng.uniform(2, 4), rng.uniform(3, 6))
            u = k * street.lane
            for s in np.arange(s0, s1, dash + gap):
                patches.append(street.strip(s, min(s + dash, s1), u - 0.07, u + 0.07, paint))
        if street.kind == "open" or rng.random() < 0.25:
            for u in (left + 0.15, right - 0.15):
                patches.append(street.strip(s0, s1, u - 0.06, u + 0.06, paint))
    if np.isfinite(street.junction) and rng.random() < 0.6:
        patches += _zebra(street, street.junction - street.crossing - 4.5, paint)
        stop = street.junction - street.crossing - 5.6
        patches.append(street.strip(stop, stop + 0.4, 0, right, paint))
    elif rng.random() < 0.15:
        patches += _zebra(street, rng.uniform(8, 35), paint)
    return patches


def _zebra(street: Street, s: float, paint: Array) -> list[Patch]:
    right, left = street.edges
    return [
        street.strip(s, s + 3.2, u, u + 0.5, paint)
        for u in np.arange(left + 0.3, right - 0.4, 1.0)
    ]


def building_line(street: Street, ego_side: bool) -> float:
    """Absolute u of the outer edge of the sidewalk, where the plots begin."""
    return street.kerb(ego_side) + street.sidewalk[0 if ego_side else 1]


def sample_blocks(street: Street, rng: np.random.Generator) -> list[Block]:
    """Sample buildings behind the sidewalks, and hedges and walls along the plots."""
    blocks = []
    for ego_side, sign in ((True, 1), (False, -1)):
        line = building_line(street, ego_side)
        back = street.setback[0 if ego_side else 1]
        s = street.start - rng.uniform(0, 12)
        while s < street.length:
            deep = rng.uniform(8, 14)
            gap, long, block = _building(street, rng)
            s0, s = s, s + long + gap
            if block and not _in_junction(street, s0 - 1.5, s0 + long + 1.5):
                u = sign * (line + back + rng.uniform(0, 0.8) + deep / 2)
                blocks.append(_placed(street, s0 + long / 2, u, (deep / 2, long / 2), **block))
        if street.kind != "open" and rng.random() < 0.6:
            blocks += _garages(street, rng, sign, line, back)
        if back > 1.2 and rng.random() < 0.75:
            blocks += _fences(street, rng, sign * (line + 0.3))
    return blocks


def _in_junction(street: Street, s0: float, s1: float) -> bool:
    reach = street.crossing + 1
    return s1 > street.junction - reach and s0 < street.junction + reach


def _placed(street: Street, s: float, u: float, half, **rest) -> Block:
    x, z, heading = street.place(s, u)
    return Block(float(x), float(z), float(heading), half, **rest)


def _wall_tint(rng: np.random.Generator) -> Array:
    """Sample the linear BGR of a wall: brick, or plaster in cream or grey."""
    kind = rng.random()
    if kind < 0.2:
        base = np.array([0.16, 0.2, 0.42])
    elif kind < 0.55:
        base = np.array([0.45, 0.62, 0.72])
    else:
        base = np.array([0.62, 0.65, 0.66])
    return np.clip(base * rng.uniform(0.45, 1.25) * rng.uniform(0.88, 1.12, 3), 0.03, 0.95)


def _building(street: Street, rng: np.random.Generator):
    """Sample the gap to the next building, a length, and the fields of a Block or None."""
    roof_color = rng.uniform(0.05, 0.2) * np.array([0.55, 0.7, 1.3])
    common = {"texture": int(rng.integers(10**6)), "tint": _wall_tint(rng)}
    if street.kind == "city":
        gap = rng.uniform(2, 9) if rng.random() < 0.25 else 0.0
        kind = "shop" if rng.random() < 0.6 else "facade"
        roof = rng.uniform(2, 4) if rng.random() < 0.35 else 0.0
        fields = dict(height=rng.uniform(7, 24), kind=kind, roof=roof, roof_color=roof_color)
        return gap, rng.uniform(9, 26), fields | common
    keep = rng.random() < (0.85 if street.kind == "residential" else 0.3)
    fields = dict(height=rng.uniform(3.5, 8.5), kind="facade", roof_color=roof_color)
    fields |= dict(roof=rng.uniform(1.5, 4.5) if rng.random() < 0.8 else 0.0)
    return rng.uniform(4, 12), rng.uniform(8, 16), (fields | common) if keep else None


def _garages(street, rng, sign: int, line: float, back: float) -> list[Block]:
    """Sample rows of garages in front of the houses or between them."""
    blocks = []
    for _ in range(int(rng.integers(1, 4))):
        long, deep = rng.uniform(3, 16), 2.6
        s = rng.uniform(street.start, 60)
        u = sign * (line + rng.uniform(0.2, max(back - 0.5, 0.4)) + deep)
        if not _in_junction(street, s - long / 2 - 1, s + long / 2 + 1):
            color = _wall_tint(rng)
            blocks.append(
                _placed(street, s, u, (deep, long / 2), height=rng.uniform(2.3, 2.65),
                        kind="garage", texture=int(rng.integers(10**6)), tint=color, roof=0.0,
                        roof_color=color * 0.3)
            )  # fmt: skip
    return blocks


def _fences(street: Street, rng: np.random.Generator, u: float) -> list[Block]:
    blocks, s = [], street.start
    height = rng.uniform(0.6, 2.2)
    hedge = rng.random() < 0.6
    tint = np.ones(3) * rng.uniform(0.25, 0.75) if hedge else _wall_tint(rng)
    texture = int(rng.integers(10**6))
    while s < street.length:
        long = rng.uniform(6, 18)
        if not _in_junction(street, s, s + long) and rng.random() < 0.85:
            kind = "foliage" if hedge else "wall"
            blocks.append(
                _placed(street, s + long / 2, u, (0.3 if hedge else 0.12, long / 2),
                        height=height, kind=kind, texture=texture, tint=tint, roof=0.0,
                        roof_color=tint * 0.5)
            )  # fmt: skip
        s += long + rng.choice([0.0, rng.uniform(1, 6)])
    return blocks


def sample_trees(street: Street, rng: np.random.Generator) -> list[Tree]:
    """Sample trees along the kerb, trees in gardens, and bushes."""
    trees = []
    for ego_side, sign in ((True, 1), (False, -1)):
        line, kerb = building_line(street, ego_side), street.kerb(ego_side)
        if line - kerb > 1.6 and rng.random() < 0.45:
            step = rng.uniform(7, 16)
            for s in np.arange(street.start + rng.uniform(0, step), street.length, step):
                if not _in_junction(street, s - 1, s + 1) and rng.random() < 0.85:
                    trees.append(_tree(street, rng, s, sign * (kerb + 0.8)))
        wild = {"city": 0.4, "residential": 1.0, "open": 1.6}[street.kind]
        back = street.setback[0 if ego_side else 1]
        for _ in range(rng.poisson(8 * wild)):
            s = rng.uniform(street.start + 2, street.length + 10)
            if not _in_junction(street, s - 2, s + 2) and back > 1.5:
                u = line + rng.uniform(0.8, max(back, 1.0) + 0.5)
                trees.append(_tree(street, rng, s, sign * u, bush=rng.random() < 0.45))
        if back > 3 and rng.random() < 0.4:
            trees += _thicket(street, rng, sign * (line + rng.uniform(1.5, 3.5)))
    return trees


def _thicket(street: Street, rng: np.random.Generator, u: float) -> list[Tree]:
    """Sample the edge of a wood: bushes side by side, with leaves down to the ground."""
    first, last = np.sort(rng.uniform(street.start, street.length, 2))
    places = np.arange(first, last, rng.uniform(2.5, 4.5))
    return [
        _tree(street, rng, s, u + np.sign(u) * rng.uniform(0, 1.2), bush=True)
        for s in places
        if not _in_junction(street, s - 2, s + 2)
    ]


def _tree(street: Street, rng: np.random.Generator, s, u, bush: bool = False) -> Tree:
    x, z, _ = street.place(s, u)
    texture, flip = int(rng.integers(textures.CROWNS)), bool(rng.random() < 0.5)
    if bush:
        high = rng.uniform(0.8, 2.6) if rng.random() < 0.65 else rng.uniform(2.6, 7.5)
        return Tree(float(x), float(z), high * rng.uniform(1.1, 1.9), -0.25 * high, high,
                    texture, flip, 0.0)  # fmt: skip
    base, high = rng.uniform(1.6, 3.2), rng.uniform(3.5, 9.0)
    return Tree(float(x), float(z), high * rng.uniform(0.8, 1.2), base - 0.12 * high,
                base + high, texture, flip, float(rng.uniform(0.1, 0.28)))  # fmt: skip
