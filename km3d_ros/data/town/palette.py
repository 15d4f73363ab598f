"""Colours of actors, linear BGR, one row per slot."""

from __future__ import annotations

import numpy as np

from km3d_ros.data.town.meshes import Slot

_BASE = np.array(
    [
        [0.30, 0.30, 0.30],  # PAINT
        [0.022, 0.022, 0.022],  # TRIM
        [0.012, 0.012, 0.010],  # GLASS
        [0.10, 0.10, 0.09],  # GLARE
        [0.018, 0.018, 0.018],  # TYRE
        [0.38, 0.37, 0.36],  # RIM
        [0.72, 0.70, 0.66],  # HEAD
        [0.025, 0.02, 0.42],  # TAIL
        [0.66, 0.68, 0.68],  # PLATE
        [0.010, 0.010, 0.010],  # DARK
        [0.35, 0.35, 0.35],  # CHROME
        [0.40, 0.40, 0.40],  # CARGO
        [0.22, 0.32, 0.55],  # SKIN
        [0.03, 0.04, 0.06],  # HAIR
        [0.30, 0.30, 0.30],  # SHIRT
        [0.06, 0.05, 0.04],  # TROUSERS
        [0.04, 0.04, 0.05],  # SHOES
        [0.10, 0.08, 0.12],  # BAG
        [0.20, 0.20, 0.19],  # METAL
        [0.60, 0.60, 0.60],  # SIGN
        [0.05, 0.09, 0.15],  # WOOD
        [0.04, 0.20, 0.75],  # ORANGE
    ]
)

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
_PAINT_ODDS = [share for share, _ in _PAINTS]


def vehicle(rng: np.random.Generator) -> np.ndarray:
    """Paint as on the road: mostly white to black, some colours."""
    palette = _varied(rng)
    color = np.array(_PAINTS[rng.choice(len(_PAINTS), p=_PAINT_ODDS)][1])
    palette[Slot.PAINT] = np.clip(color * rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3), 0, 0.8)
    if rng.random() < 0.3:
        palette[Slot.PLATE] = (0.08, 0.55, 0.66)
    palette[Slot.CARGO] = rng.uniform(0.1, 0.75) * rng.uniform(0.7, 1.2, 3)
    palette[Slot.RIM] *= rng.choice([0.15, 0.7, 1.0, 1.3], p=[0.12, 0.3, 0.4, 0.18])
    return np.clip(palette, 0, 0.85)


def person(rng: np.random.Generator) -> np.ndarray:
    """Clothes, skin and hair; the bicycle takes PAINT."""
    palette = _varied(rng)
    for slot, low, high in ((Slot.SHIRT, 0.01, 0.6), (Slot.TROUSERS, 0.01, 0.25)):
        palette[slot] = np.exp(rng.uniform(np.log(low), np.log(high))) * rng.uniform(0.5, 1.5, 3)
    palette[Slot.SKIN] *= rng.uniform(0.35, 1.2)
    palette[Slot.HAIR] *= np.exp(rng.uniform(-1, 1.6))
    palette[Slot.SHOES] *= np.exp(rng.uniform(-1, 2))
    palette[Slot.BAG] *= rng.uniform(0.3, 3, 3)
    palette[Slot.PAINT] = np.exp(rng.uniform(-4, -0.7, 3))
    return np.clip(palette, 0, 0.85)


def prop(rng: np.random.Generator) -> np.ndarray:
    """Street furniture."""
    palette = _varied(rng)
    palette[Slot.CARGO] = np.exp(rng.uniform(-4, -1, 3))
    palette[Slot.SHIRT] = np.exp(rng.uniform(-4, -0.4, 3))
    if rng.random() < 0.3:
        palette[Slot.TAIL] = (0.45, 0.12, 0.02)
    palette[Slot.METAL] *= rng.uniform(0.15, 1.8)
    return np.clip(palette, 0, 0.85)


def _varied(rng: np.random.Generator) -> np.ndarray:
    return _BASE * rng.uniform(0.8, 1.2, (len(_BASE), 1))
