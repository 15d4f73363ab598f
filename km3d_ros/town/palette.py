"""Colours of actors: linear BGR, one row per `Slot`."""

from __future__ import annotations

import numpy as np

from km3d_ros.town.meshes import COLORS, Slot

_PAINTS = (
    (0.20, (0.72, 0.74, 0.74)),  # white
    (0.20, (0.42, 0.42, 0.41)),  # silver
    (0.14, (0.14, 0.13, 0.125)),  # grey
    (0.18, (0.016, 0.015, 0.015)),  # black
    (0.10, (0.20, 0.06, 0.025)),  # blue
    (0.08, (0.025, 0.02, 0.32)),  # red
    (0.03, (0.06, 0.10, 0.03)),  # green
    (0.03, (0.18, 0.30, 0.36)),  # beige
    (0.02, (0.03, 0.42, 0.62)),  # yellow
    (0.02, (0.02, 0.03, 0.10)),  # maroon
)


def vehicle(rng: np.random.Generator) -> np.ndarray:
    """Sample the colours of a vehicle. Most are white, grey or black, as in real traffic."""
    palette = _varied(rng)
    palette[Slot.PAINT] = np.clip(_one_of(rng, _PAINTS), 0, 0.8)
    palette[Slot.SHADE] = palette[Slot.PAINT] * rng.uniform(0.35, 0.75)
    palette[Slot.LIGHT] = palette[Slot.PAINT] * rng.uniform(1.0, 1.25) + rng.uniform(0, 0.05)
    palette[Slot.SKY] *= np.exp(rng.uniform(-2.5, 1.1))
    palette[Slot.GLASS] *= np.exp(rng.uniform(-0.5, 1.2))
    if rng.random() < 0.25:
        palette[Slot.PLATE] = (0.08, 0.55, 0.66)
    palette[Slot.HEAD] *= rng.uniform(0.35, 1.1) if rng.random() < 0.85 else 1.4
    palette[Slot.TAIL] *= rng.uniform(0.5, 1.1)
    if rng.random() < 0.15:  # brake lights on
        palette[Slot.TAIL] = (0.08, 0.08, 0.85)
    palette[Slot.CARGO] = rng.uniform(0.1, 0.75) * rng.uniform(0.7, 1.2, 3)
    palette[Slot.RIM] *= rng.choice([0.15, 0.7, 1.0, 1.3], p=[0.12, 0.3, 0.4, 0.18])
    return np.clip(palette, 0, 0.85)


_CLOTHES = (
    (0.20, (0.70, 0.70, 0.70)),  # white
    (0.20, (0.015, 0.014, 0.014)),  # black
    (0.13, (0.13, 0.13, 0.13)),  # grey
    (0.10, (0.10, 0.05, 0.03)),  # navy
    (0.08, (0.40, 0.22, 0.10)),  # light blue
    (0.09, (0.04, 0.03, 0.38)),  # red
    (0.06, (0.16, 0.26, 0.34)),  # beige
    (0.05, (0.05, 0.50, 0.62)),  # yellow
    (0.04, (0.06, 0.14, 0.06)),  # green
    (0.03, (0.30, 0.22, 0.52)),  # pink
    (0.02, (0.03, 0.25, 0.70)),  # orange
)
_TROUSERS = (
    (0.34, (0.11, 0.065, 0.04)),  # blue jeans
    (0.30, (0.016, 0.015, 0.015)),  # black
    (0.10, (0.09, 0.09, 0.09)),  # grey
    (0.10, (0.12, 0.20, 0.27)),  # beige
    (0.08, (0.30, 0.22, 0.16)),  # washed jeans
    (0.05, (0.55, 0.56, 0.57)),  # white
    (0.03, (0.03, 0.04, 0.25)),  # red
)


def _one_of(rng: np.random.Generator, colors) -> np.ndarray:
    left = rng.random() * sum(share for share, _ in colors)
    k = 0
    while left > colors[k][0] and k < len(colors) - 1:
        left -= colors[k][0]
        k += 1
    return np.array(colors[k][1]) * rng.uniform(0.7, 1.25) * rng.uniform(0.85, 1.15, 3)


def person(rng: np.random.Generator) -> np.ndarray:
    """Sample the colours of a person. The bicycle uses PAINT, the helmet SIGN."""
    palette = _varied(rng)
    palette[Slot.SHIRT], palette[Slot.PATTERN] = _one_of(rng, _CLOTHES), _one_of(rng, _CLOTHES)
    palette[Slot.TROUSERS] = _one_of(rng, _TROUSERS)
    palette[Slot.SKIN] *= rng.uniform(0.7, 1.45) if rng.random() < 0.8 else rng.uniform(0.15, 0.6)
    kind = rng.random()
    if kind < 0.2:
        palette[Slot.HAIR] = np.array([0.10, 0.24, 0.36]) * rng.uniform(0.6, 1.3)
    elif kind < 0.32:
        palette[Slot.HAIR] = rng.uniform(0.2, 0.55)
    else:
        palette[Slot.HAIR] *= np.exp(rng.uniform(-1, 0.7))
    palette[Slot.SHOES] = _one_of(rng, _CLOTHES[:3]) * rng.uniform(0.6, 1.0)
    palette[Slot.BAG] = _one_of(rng, _CLOTHES)
    palette[Slot.SIGN] = _one_of(rng, _CLOTHES)
    palette[Slot.PAINT] = np.exp(rng.uniform(-4, -0.7) + rng.normal(0, 0.6, 3))
    return np.clip(palette, 0, 0.85)


def prop(rng: np.random.Generator) -> np.ndarray:
    """Sample the colours of a prop. Galvanised steel and concrete use PATTERN."""
    palette = _varied(rng)
    palette[Slot.CARGO] = np.exp(rng.uniform(-4, -1, 3))
    palette[Slot.SHIRT] = np.exp(rng.uniform(-4, -0.4, 3))
    if rng.random() < 0.3:
        palette[Slot.TAIL] = (0.45, 0.12, 0.02)
    palette[Slot.METAL] *= rng.uniform(0.15, 1.8)
    palette[Slot.PATTERN] = rng.uniform(0.18, 0.5) * np.array([0.95, 0.99, 1.0])
    palette[Slot.PAINT] = np.exp(rng.uniform(-4, -0.7) + rng.normal(0, 0.6, 3))
    return np.clip(palette, 0, 0.85)


def _varied(rng: np.random.Generator) -> np.ndarray:
    return COLORS * rng.uniform(0.8, 1.2, (len(COLORS), 1))
