"""Textures of garages and gates: wide rectangles near the ground, dark or bright."""

from __future__ import annotations

from functools import cache

import numpy as np

from km3d_ros.town.textures import fractal_noise, pyramid

Array = np.ndarray

GARAGES = 12
HEIGHT = 2.67
"""Height of the whole texture in metres. Lower garages cut off its bottom."""


@cache
def garage(index: int) -> list[Array]:
    """Mipmap chain of a tileable front, 16 m long, with doors, gates and small windows."""
    rng = np.random.default_rng((index, 139))
    height, width = 64, 384
    image = np.full((height, width, 3), 205.0)
    image += rng.uniform(4, 14) * fractal_noise(rng, (height, width), 0.9)[..., None]
    image[:5] = rng.uniform(40, 160)
    x = int(rng.integers(4, 16))
    door = rng.uniform(25, 230) * rng.uniform(0.8, 1.15, 3)
    same = rng.random() < 0.5
    while x < width - 66:
        wide = int(rng.integers(54, 64)) if rng.random() < 0.75 else int(rng.integers(16, 26))
        color = door if same else rng.uniform(25, 230) * rng.uniform(0.8, 1.15, 3)
        top = 12 if wide > 30 else 16
        image[top - 2 :, x - 2 : x + wide + 2] = rng.uniform(50, 230)
        image[top:, x : x + wide] = color
        if rng.random() < 0.6:
            image[top :: int(rng.integers(5, 11)), x : x + wide] *= 0.72
        else:
            image[top:, x : x + wide : int(rng.integers(4, 8))] *= 0.75
        if rng.random() < 0.35:
            image[top + 6 : top + 14, x + 4 : x + wide - 4] = rng.uniform(20, 90)
        x += wide + int(rng.choice([rng.integers(5, 14), rng.integers(20, 60)]))
    return pyramid(np.clip(image, 0, 255).astype(np.uint8))
