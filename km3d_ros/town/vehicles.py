"""Meshes of cars and vans. Each body style has its own size, so appearance predicts size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from km3d_ros.town.car_ends import paint_back, paint_front
from km3d_ros.town.greenhouse import build_greenhouse
from km3d_ros.town.meshes import Builder, Mesh, Slot, disc


@dataclass(frozen=True)
class Style:
    """A body style.

    Places are fractions of the length, from the rear (0) to the front (1). Heights are fractions
    of the height of the roof.

    size: length, width, height in metres; share: relative frequency.
    rear, cowl: (place, height) of the lower edge of the rear window and of the windscreen.
    roof: places of the rear and the front edge of the roof.
    deck, nose: heights of the body at the rear and at the front.
    windows: pillars between the side windows, as fractions of the greenhouse.
    wheel: radius of the wheels; axles: places of the axles.
    clearance: height of the underbody.
    roof_width: width of the roof as a fraction of the width of the car.
    rails: whether the roof has rails.
    glazed_from: fraction of the greenhouse at which the side windows begin.
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

VARIANTS = 12
"""Number of designs of one style, which differ in lamps, grille, trim and lines."""


@cache
def car(style: Style, variant: int) -> Mesh:
    """Mesh of a body style in the design `variant`. Its extent is `style.size`."""
    rng = np.random.default_rng((variant, int(style.size[0] * 1000)))
    builder = Builder()
    body = Body(_redrawn(style, rng), builder, rng)
    body.wheels()
    body.shell()
    paint_front(body)
    paint_back(body)
    body.doors()
    build_greenhouse(body)
    return builder.finish(style.size)


def _redrawn(style: Style, rng: np.random.Generator) -> Style:
    """The style with small changes of its lines. Its size does not change."""
    cowl, front, back = rng.uniform(-1, 1, 3) * (0.018, 0.02, 0.015)
    return replace(
        style,
        cowl=(style.cowl[0] + cowl, style.cowl[1]),
        roof=(style.roof[0] + max(back, -0.01), style.roof[1] + front),
        nose=style.nose + rng.uniform(-0.02, 0.02),
        roof_width=style.roof_width + rng.uniform(-0.02, 0.02),
    )


class Body:
    """Body shell of a car. The other parts are placed relative to it."""

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
        """Convert fractions to (..., 3) metres; `side` in [-1, 1], positive to the left."""
        place, side, height = np.broadcast_arrays(place, side, height)
        return np.stack([place - 0.5, side, height], axis=-1) * self.scale

    def wheels(self) -> None:
        """Add tyres, rims and wheel arches."""
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
        """Add the body below the windows."""
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
        lower = Slot.TRIM if self.rng.random() < 0.3 else Slot.SHADE
        middle = Slot.SHADE if self.rng.random() < 0.25 else Slot.PAINT
        # The flanks reflect the road below and the sky along the shoulder.
        flank = [lower, middle, Slot.PAINT, Slot.LIGHT]
        strips = [*flank, Slot.PAINT, *flank[::-1]]
        self.b.loft(rings, strips, 1, hull=Slot.DARK)
        for ring in (rings[0], rings[-1]):
            split = [ring[1:9], ring[[0, 1, 8, 9]]]
            for part, slot in zip(split, (Slot.PAINT, lower), strict=True):
                self.b.polygon(part, slot, 1, self.inside)

    def doors(self) -> None:
        """Add the gaps and handles of the doors."""
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
