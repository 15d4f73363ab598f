"""Samples a scene from its seed: street, light, camera, film and actors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.scene import Film, Light, Scene, View
from km3d_ros.town.street import Street, ground_patches, sample_blocks, sample_street, sample_trees
from km3d_ros.town.traffic import populate

LENGTH = 115.0
"""Metres of street ahead of the camera."""
FOCAL = (0.5, 1.1)
"""Range of focal lengths in image widths. The distribution is log-uniform."""


def sample_scene(seed: int, index: int = 0) -> Scene:
    """Sample scene `index` of a seed. It does not depend on other scenes or the image size."""
    rng = np.random.default_rng((seed, index))
    street = sample_street(rng, LENGTH, start=-6.0)
    ego = (int(rng.integers(street.lanes[0])) + 0.5) * street.lane + rng.normal(0, 0.25)
    view = sample_view(rng, street, ego)
    blocks, trees = sample_blocks(street, rng), sample_trees(street, rng)
    light = sample_light(rng)
    return Scene(
        view=view,
        light=light,
        film=_exposed(sample_film(rng), light),
        ground=ground_color(rng, street),
        ground_noise=int(rng.integers(textures.NOISES)),
        patches=ground_patches(street, rng),
        blocks=blocks,
        trees=trees,
        actors=populate(street, rng, trees, ego),
    )


def sample_view(rng: np.random.Generator, street: Street, ego: float) -> View:
    """Sample the pose of a camera on a vehicle at u = `ego`, s = 0."""
    x, z, heading = street.place(0.0, ego)
    turn = rng.normal(0, 0.03) if rng.random() < 0.9 else rng.uniform(-0.25, 0.25)
    return View(
        x=float(x),
        z=float(z),
        heading=float(heading + turn),
        height=float(rng.uniform(1.3, 2.1)),
        slope=float(np.clip(rng.normal(0, 0.016), -0.045, 0.045)),
        bank=float(np.clip(rng.normal(0, 0.006), -0.02, 0.02)),
        focal=float(np.exp(rng.uniform(*np.log(FOCAL)))),
        shift=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.025, 0.025))),
    )


def ground_color(rng: np.random.Generator, street: Street) -> np.ndarray:
    """Sample the linear BGR of the ground beside the street: paving, grass or earth."""
    odds = {"city": (0.8, 0.15), "residential": (0.35, 0.5), "open": (0.1, 0.7)}[street.kind]
    kind = rng.random()
    if kind < odds[0]:
        base = np.array([0.2, 0.21, 0.215])
    elif kind < sum(odds):
        base = np.array([0.035, 0.11, 0.075])
    else:
        base = np.array([0.08, 0.14, 0.18])
    return base * rng.uniform(0.6, 1.4) * rng.uniform(0.93, 1.07, 3)


def sample_light(rng: np.random.Generator) -> Light:
    """Sample a sky (clear, broken clouds, overcast or dusk) and a light that fits it."""
    sky = int(rng.integers(textures.SKIES))
    kind = textures.sky_kind(sky)
    up = (rng.uniform(0.3, 1.2), rng.uniform(0.3, 1.2), 1.0, rng.uniform(0.12, 0.3))[kind]
    strength = (rng.uniform(0.75, 1.35), rng.uniform(0.2, 1.0), 0.0, rng.uniform(0.1, 0.4))[kind]
    ambient = (rng.uniform(0.1, 0.36), rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.75),
               rng.uniform(0.12, 0.3))[kind]  # fmt: skip
    blue = ((1.25, 1.0, 0.85), (1.1, 1.0, 0.93), (1.02, 1.0, 0.98), (1.15, 0.95, 0.9))[kind]
    turn = rng.uniform(0, 2 * np.pi)
    warm = np.array([0.82, 0.95, 1.05]) if kind < 3 else np.array([0.45, 0.75, 1.15])
    return Light(
        sun=np.array([np.sin(turn) * np.cos(up), np.sin(up), np.cos(turn) * np.cos(up)]),
        sun_color=strength * warm,
        sky_color=ambient * np.array(blue),
        sky=sky,
        horizon=int(rng.integers(textures.HORIZONS)),
        shift=float(rng.uniform()),
        haze=float(rng.choice([0.0008, rng.uniform(0.001, 0.006)])),
    )


def _exposed(film: Film, light: Light) -> Film:
    """The film with a gain as of automatic exposure, which is higher in dim light."""
    bright = light.sky_color.mean() + 0.6 * light.sun_color.mean() * max(light.sun[1], 0)
    return replace(film, gain=film.gain * float(np.clip((0.6 / bright) ** 0.35, 0.95, 1.6)))


def sample_film(rng: np.random.Generator) -> Film:
    """Sample the exposure, colour, optics, noise and compression of a camera."""
    return Film(
        gain=float(np.exp(rng.normal(0.1, 0.2))),
        balance=tuple(float(v) for v in np.exp(rng.normal(0, 0.04, 3))),
        contrast=float(rng.uniform(0.9, 1.45)),
        vignette=float(rng.uniform(0, 0.35)),
        blur=float(rng.uniform(0.35, 0.9)) if rng.random() < 0.45 else 0.0,
        motion=int(rng.integers(3, 6)) if rng.random() < 0.06 else 0,
        noise=float(rng.uniform(0.03, 0.35)),
        noise_index=int(rng.integers(textures.NOISES)),
        jpeg=int(rng.integers(45, 92)) if rng.random() < 0.2 else 0,
    )
