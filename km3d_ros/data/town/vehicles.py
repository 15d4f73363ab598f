"""Cars and vans: body styles whose looks decide their size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from km3d_ros.data.town.meshes import Builder, Mesh, Slot, disc


@dataclass(frozen=True)
class Style:
    """A body style: lengths as fractions from the rear (0) to the front (1), heights of the roof.

    `rear` and `cowl` are (place, height) of the bases of the rear window and the windscreen,
    `roof` the places of the roof's rear and front edges, `windows` the pillars that part the
    side windows (fractions of the greenhouse), `wheel` the wheels' radius as part of the height.
    """

    size: tuple[float, float, float]
    share: float
    rear: tuple[float, float]
    cowl: tuple[float, float]
    roof: tuple[float, float]
    deck: float
    nose: float
    windows: tuple[float, ...]
    wheel: float
    axles: tuple[float, float]
    clearance: float = 0.13
    roof_width: float = 0.72
    rails: bool = False
    glazed_from: float = 0.0


# Sizes follow the population of KITTI's cars: height 1.53 ± 0.13 m, width 1.63 ± 0.10 m,
# length 3.88 ± 0.42 m, weighted by share.
CARS: dict[str, Style] = {
    "micro": Style((2.92, 1.43, 1.57), 0.07, (0.02, 0.62), (0.80, 0.62), (0.10, 0.56), 0.60,
                   0.50, (0.30,), 0.185, (0.15, 0.84), roof_width=0.76),
    "city": Style((3.38, 1.50, 1.53), 0.14, (0.02, 0.62), (0.74, 0.63), (0.10, 0.50), 0.60,
                  0.50, (0.10, 0.47), 0.19, (0.14, 0.82)),
    "hatchback": Style((3.74, 1.60, 1.48), 0.21, (0.03, 0.63), (0.71, 0.63), (0.13, 0.48), 0.60,
                       0.50, (0.14, 0.50), 0.205, (0.16, 0.81)),
    "compact": Style((3.99, 1.67, 1.50), 0.15, (0.04, 0.63), (0.70, 0.63), (0.17, 0.50), 0.60,
                     0.49, (0.20, 0.55), 0.205, (0.17, 0.81), roof_width=0.70),
    "sedan": Style((4.35, 1.68, 1.43), 0.13, (0.17, 0.66), (0.69, 0.64), (0.29, 0.53), 0.64,
                   0.50, (0.20, 0.55), 0.215, (0.19, 0.82)),
    "estate": Style((4.40, 1.69, 1.49), 0.09, (0.01, 0.62), (0.70, 0.63), (0.06, 0.54), 0.60,
                    0.50, (0.24, 0.50, 0.70), 0.21, (0.19, 0.82), rails=True),
    "coupe": Style((3.99, 1.68, 1.28), 0.05, (0.08, 0.68), (0.66, 0.66), (0.30, 0.48), 0.66,
                   0.52, (0.36,), 0.24, (0.18, 0.81), clearance=0.11),
    "minivan": Style((4.04, 1.69, 1.73), 0.08, (0.01, 0.56), (0.78, 0.58), (0.05, 0.56), 0.54,
                     0.45, (0.25, 0.52, 0.86), 0.18, (0.17, 0.83), roof_width=0.76),
    "suv": Style((4.20, 1.80, 1.83), 0.08, (0.02, 0.62), (0.72, 0.63), (0.07, 0.54), 0.60,
                 0.54, (0.22, 0.54), 0.205, (0.18, 0.82), clearance=0.18, roof_width=0.78,
                 rails=True),
}  # fmt: skip

VANS: dict[str, Style] = {
    "delivery": Style((4.90, 1.90, 2.00), 0.5, (0.0, 0.52), (0.86, 0.55), (0.01, 0.70), 0.50,
                      0.42, (0.62,), 0.16, (0.17, 0.83), roof_width=0.88, glazed_from=0.62),
    "minibus": Style((5.10, 1.93, 2.05), 0.3, (0.0, 0.50), (0.88, 0.52), (0.01, 0.74), 0.48,
                     0.40, (0.30, 0.62), 0.16, (0.18, 0.83), roof_width=0.86),
    "panel": Style((5.60, 2.00, 2.55), 0.2, (0.0, 0.45), (0.87, 0.47), (0.01, 0.72), 0.44,
                   0.36, (0.70,), 0.135, (0.18, 0.84), roof_width=0.90, glazed_from=0.70),
}  # fmt: skip

VARIANTS = 6
"""Lamps, grille and trim of one style come in this many designs."""


@cache
def car(style: Style, variant: int) -> Mesh:
    """The mesh of a body style with one design of its details; its extent is `style.size`."""
    rng = np.random.default_rng((variant, int(style.size[0] * 1000)))
    builder = Builder()
    body = _Body(style, builder, rng)
    body.wheels()
    body.shell()
    body.front()
    body.back()
    body.doors()
    body.greenhouse()
    return builder.finish(style.size)


class _Body:
    def __init__(self, style: Style, builder: Builder, rng: np.random.Generator) -> None:
        self.style, self.b, self.rng = style, builder, rng
        length, width, height = style.size
        self.scale = np.array([length, width / 2, height])
        rear, cowl = style.rear, style.cowl
        low = style.clearance
        belt_t = [0.0, 0.03, rear[0] + 0.02, cowl[0], 0.955, 1.0]
        belt_z = [style.deck - 0.04, style.deck, rear[1], cowl[1], style.nose + 0.03, style.nose]
        places = np.array([0.0, 0.025, 0.10, 0.32, 0.5, cowl[0], 0.90, 0.96, 1.0])
        self.half = np.array([0.80, 0.93, 0.99, 1.0, 1.0, 1.0, 0.985, 0.91, 0.72])
        self.places = places
        self.belt = np.interp(places, np.sort(belt_t), belt_z)
        self.sill = np.array([low + 0.07, low + 0.02] + [low] * 5 + [low + 0.02, low + 0.04])
        self.inside = self.at(0.5, 0.0, 0.4)

    def at(self, place, side, height) -> np.ndarray:
        """(..., 3) metres of fractions; side in [-1, 1], positive to the left."""
        place, side, height = np.broadcast_arrays(place, side, height)
        return np.stack([place - 0.5, side, height], axis=-1) * self.scale

    def wheels(self) -> None:
        radius = self.style.wheel * self.scale[2]
        wide = 0.20 / self.scale[1]
        for place in self.style.axles:
            for sign in (-1, 1):
                outer = disc(self.at(place, sign * 0.985, self.style.wheel), radius, 12)
                inner = disc(self.at(place, sign * (0.985 - wide), self.style.wheel), radius, 12)
                self.b.loft([outer, inner], Slot.TYRE, 0, closed=True, hull=Slot.TYRE)
                self._wheel_face(place, sign, radius)

    def _wheel_face(self, place: float, sign: int, radius: float) -> None:
        hub = self.at(place, sign * 0.992, self.style.wheel)
        top = self.at(place, sign * 0.99, self.style.wheel)
        arch = disc(top, radius * 1.17, 16)
        arch = arch[arch[:, 2] >= self.style.clearance * self.scale[2] - 1e-6]
        arch = arch[np.argsort(np.arctan2(arch[:, 2] - top[2], arch[:, 0] - top[0]))]
        self.b.polygon(arch, Slot.DARK, 2, self.inside)
        self.b.polygon(disc(top, radius, 12), Slot.TYRE, 3, self.inside)
        rim = radius * (0.60 + 0.012 * (self.rng.integers(5)))
        self.b.polygon(disc(hub, rim, 10), Slot.RIM, 4, self.inside)
        spokes = 5
        for k in range(spokes):
            turn = 2 * np.pi * (k + 0.5) / spokes
            span = np.array([[0.30, -0.5], [0.86, -0.42], [0.86, 0.42], [0.30, 0.5]])
            angle = turn + span[:, 1] * np.array([1.3, 1.0, 1.0, 1.3]) * 0.9
            wedge = rim * span[:, :1] * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
            self.b.polygon(hub + wedge, Slot.DARK, 5, self.inside)

    def shell(self) -> None:
        rings = []
        for place, half, low, top in zip(
            self.places, self.half, self.sill, self.belt, strict=True
        ):
            side = np.array([0.92, 1.0, 0.99, 0.955, 0.86]) * half
            rise = np.array([0.0, 0.28, 0.62, 0.90, 1.0])
            heights = low + rise * (top - low)
            rings.append(
                np.concatenate(
                    [self.at(place, side, heights), self.at(place, -side[::-1], heights[::-1])]
                )
            )
        lower = Slot.TRIM if self.rng.random() < 0.3 else Slot.PAINT
        strips = [lower, *[Slot.PAINT] * 7, lower]
        self.b.loft(rings, strips, 1, hull=Slot.DARK)
        for ring in (rings[0], rings[-1]):
            split = [ring[1:9], ring[[0, 1, 8, 9]]]
            for part, slot in zip(split, (Slot.PAINT, lower), strict=True):
                self.b.polygon(part, slot, 1, self.inside)

    def _end(self, front: bool, sides, heights, slot, layer) -> None:
        """A patch on the rounded front or rear: outline of (side, height) pairs."""
        sides, heights = np.asarray(sides, float), np.asarray(heights, float)
        half, places = self.half, self.places
        if front:
            place = np.interp(np.abs(sides), half[[8, 7, 6]], places[[8, 7, 6]] + 0.002)
        else:
            place = np.interp(np.abs(sides), half[[0, 1, 2]], places[[0, 1, 2]] - 0.002)
        limit = 1.0 if front else 0.0
        place = np.minimum(place, limit) if front else np.maximum(place, limit)
        self.b.polygon(self.at(place, sides, heights), slot, layer, self.inside)

    def _both_ends(self, front, inner, outer, low, high, slot, layer, slant=0.0) -> None:
        """A lamp on both corners, split where the body turns."""
        turn = self.half[8 if front else 0]
        for sign in (-1, 1):
            parts = [(inner, min(turn, outer))] + ([(turn, outer)] if outer > turn else [])
            for a, b in parts:
                lift_a, lift_b = slant * (a - inner), slant * (b - inner)
                self._end(
                    front,
                    [sign * a, sign * b, sign * b, sign * a],
                    [low + lift_a, low + lift_b, high + lift_b / 2, high + lift_a / 2],
                    slot,
                    layer,
                )

    def front(self) -> None:
        rng, nose, low = self.rng, self.style.nose, self.style.clearance
        lamp = nose - rng.uniform(0.10, 0.14)
        inner = rng.uniform(0.42, 0.54)
        self._both_ends(True, inner, 0.90, lamp, nose - 0.02, Slot.HEAD, 2, rng.uniform(0, 0.08))
        self._both_ends(True, inner + 0.06, 0.68, lamp + 0.03, nose - 0.04, Slot.GLARE, 3)
        grille = inner - 0.04
        self._end(True, [-grille, grille, grille * 0.8, -grille * 0.8],
                  [nose - 0.03, nose - 0.03, lamp - 0.01, lamp - 0.01], Slot.DARK, 2)  # fmt: skip
        if rng.random() < 0.6:
            mid = (nose + lamp) / 2 - 0.02
            self._rectangle(True, grille * 0.8, mid - 0.008, mid + 0.008, Slot.CHROME, 3)
        self._rectangle(True, 0.07, nose - 0.09, nose - 0.04, Slot.CHROME, 4)
        self._rectangle(True, rng.uniform(0.45, 0.68), low + 0.06, low + 0.13, Slot.DARK, 2)
        plate = low + 0.15
        self._rectangle(True, 0.30, plate, plate + 0.075, Slot.PLATE, 4)
        self._rectangle(True, 0.25, plate + 0.025, plate + 0.05, Slot.TRIM, 5)
        if rng.random() < 0.5:
            self._both_ends(True, 0.56, 0.68, low + 0.08, low + 0.13, Slot.GLARE, 3)

    def _rectangle(self, front, half, low, high, slot, layer) -> None:
        self._end(front, [-half, half, half, -half], [low, low, high, high], slot, layer)

    def back(self) -> None:
        rng, deck, low = self.rng, self.style.deck, self.style.clearance
        tall = rng.random() < (0.75 if self.style.rear[0] < 0.03 else 0.25)
        top = deck - 0.05
        bottom = top - (rng.uniform(0.17, 0.22) if tall else rng.uniform(0.10, 0.13))
        inner = rng.uniform(0.62, 0.70) if tall else rng.uniform(0.42, 0.55)
        self._both_ends(False, inner, 0.95, bottom, top, Slot.TAIL, 2)
        self._both_ends(False, inner + 0.02, 0.80, bottom + 0.02, bottom + 0.05, Slot.HEAD, 3)
        bumper = low + rng.uniform(0.15, 0.2)
        slot = Slot.TRIM if rng.random() < 0.45 else Slot.PAINT
        for a, b in ((-0.93, -0.8), (-0.8, 0.8), (0.8, 0.93)):
            self._end(False, [a, b, b, a], [bumper - 0.05] * 2 + [bumper] * 2, slot, 2)
        self._rectangle(False, 0.8, bumper + 0.002, bumper + 0.012, Slot.DARK, 3)
        self._rectangle(False, 0.6, low + 0.07, low + 0.10, Slot.DARK, 2)
        plate = bumper + 0.05 if rng.random() < 0.7 else low + 0.1
        self._rectangle(False, 0.31, plate, plate + 0.075, Slot.PLATE, 4)
        self._rectangle(False, 0.26, plate + 0.025, plate + 0.05, Slot.TRIM, 5)
        if rng.random() < 0.5:
            self._rectangle(False, 0.34, plate + 0.085, plate + 0.10, Slot.CHROME, 4)

    def doors(self) -> None:
        rear, cowl = self.style.rear[0], self.style.cowl[0]
        splits = [rear + w * (cowl - rear) for w in self.style.windows] + [cowl - 0.02]
        low = self.style.clearance + 0.05
        for sign in (-1, 1):
            for place in splits:
                top = np.interp(place, self.places, self.belt) - 0.03
                edge = self.at(
                    [place - 0.0012, place + 0.0012] * 2, sign * 0.995, [low, low, top, top]
                )
                self.b.polygon(edge[[0, 1, 3, 2]], Slot.DARK, 2, self.inside)
            for place in splits[1:]:
                z = np.interp(place, self.places, self.belt) - 0.085
                span = np.array([-0.075, -0.03, -0.03, -0.075]) + place
                self.b.polygon(
                    self.at(span, sign * 0.995, [z, z, z + 0.018, z + 0.018]),
                    Slot.TRIM, 3, self.inside,
                )  # fmt: skip

    def greenhouse(self) -> None:
        st = self.style
        top, edge = 1.0, 0.955
        base = [self.at(st.rear[0], y, st.rear[1] - 0.02) for y in (0.84, -0.84)] + [
            self.at(st.cowl[0], y, st.cowl[1] - 0.02) for y in (-0.82, 0.82)
        ]
        rw = st.roof_width
        roof = [self.at(st.roof[0], y, edge) for y in (rw, -rw)] + [
            self.at(st.roof[1], y, edge) for y in (-rw + 0.02, rw - 0.02)
        ]
        inset = 0.045
        crown = [self.at(st.roof[0] + inset, y, top) for y in (rw - 0.16, 0.16 - rw)] + [
            self.at(st.roof[1] - inset, y, top) for y in (0.16 - rw, rw - 0.16)
        ]
        inside = self.at(0.4, 0.0, 0.8)
        self.b.hull([*base, *roof, *crown], Slot.DARK)
        for k in range(4):
            j = (k + 1) % 4
            self.b.polygon((base[k], base[j], roof[j], roof[k]), Slot.PAINT, 6, inside)
            self.b.polygon((roof[k], roof[j], crown[j], crown[k]), Slot.PAINT, 6, inside)
        self.b.polygon(crown, Slot.PAINT, 6, inside)
        windscreen = (base[2], base[3], roof[3], roof[2])
        self._pane(windscreen, 0.04, 0.96, 0.05, 0.95, inside)
        if st.glazed_from == 0 or self.rng.random() < 0.5:
            self._pane((base[0], base[1], roof[1], roof[0]), 0.07, 0.93, 0.12, 0.9, inside)
        bounds = [st.glazed_from, *[w for w in st.windows if w > st.glazed_from], 1.0]
        for side in ((base[0], base[3], roof[3], roof[0]), (base[1], base[2], roof[2], roof[1])):
            for a, b in itertools.pairwise(bounds):
                first = 0.05 if a == st.glazed_from else 0.018
                last = 0.05 if b == 1.0 else 0.018
                self._pane(side, a + first, b - last, 0.1, 0.9, inside)
        self._mirrors()
        if st.rails:
            self._rails(roof)

    def _pane(self, quad, a0, a1, b0, b1, inside) -> None:
        """A window in the quad (base start, base end, top end, top start), with its reflection."""
        quad = np.asarray(quad)

        def at(a, b):
            return (1 - b) * ((1 - a) * quad[0] + a * quad[1]) + b * (
                (1 - a) * quad[3] + a * quad[2]
            )

        self.b.polygon([at(a0, b0), at(a1, b0), at(a1, b1), at(a0, b1)], Slot.GLASS, 7, inside)
        x = self.rng.uniform(0.1, 0.6) * (a1 - a0) + a0
        wide = self.rng.uniform(0.15, 0.3) * (a1 - a0)
        low = b0 + self.rng.uniform(0.1, 0.5) * (b1 - b0)
        self.b.polygon(
            [at(x, low), at(x + wide, low), at(x + wide, b1), at(x, b1)], Slot.GLARE, 8, inside
        )

    def _mirrors(self) -> None:
        """Painted before the greenhouse, but for the outer face, which is seen from its side."""
        place, height = self.style.cowl[0] - 0.07, self.style.cowl[1] + 0.03
        slot = Slot.TRIM if self.rng.random() < 0.5 else Slot.PAINT
        for sign in (-1, 1):
            low, high = sorted((sign * 0.80, sign * 0.985))
            ends = (
                self.at(place - 0.014, low, height),
                self.at(place + 0.014, high, height + 0.075),
            )
            self.b.box(*ends, slot, 5, hull=False)
            outer = self.at(
                place + np.array([-1, 1, 1, -1]) * 0.014,
                sign * 0.985,
                height + np.array([0, 0, 1, 1]) * 0.075,
            )
            self.b.polygon(outer, slot, 9, self.inside)

    def _rails(self, roof) -> None:
        for rear, front in ((roof[0], roof[3]), (roof[1], roof[2])):
            lift = np.array([0, 0, 0.03])
            a, b = rear * 0.9 + front * 0.1, front * 0.9 + rear * 0.1
            self.b.polygon([a, b, b + lift, a + lift], Slot.TRIM, 9, two_sided=True)
