"""Procedural textures of sky, facades, foliage, ground and noise, made once per process."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

Array = np.ndarray

FACADES, SHOPS, GARAGES, FOLIAGE_WALLS, CROWNS, SKIES, HORIZONS, NOISES = (
    20,
    8,
    12,
    8,
    26,
    20,
    14,
    6,
)
METRES_PER_TEXEL = 1 / 24
"""Scale of facades and shops at full size."""
LEAF_METRES_PER_TEXEL = 1 / 64
"""Scale of foliage walls at full size."""


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], power: float) -> Array:
    """Tileable noise of spectrum f^-power, zero mean, unit variance, float32."""
    fy = np.fft.fftfreq(shape[0])[:, None] * shape[0]
    fx = np.fft.rfftfreq(shape[1])[None] * shape[1]
    amplitude = np.maximum(np.hypot(fy, fx), 1.0) ** -power
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    field = np.fft.irfft2(amplitude * np.exp(1j * phase), s=shape)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def pyramid(image: Array, levels: int = 6) -> list[Array]:
    """Mipmap chain: the image at full size, half, a quarter and so on."""
    chain = [np.ascontiguousarray(image)]
    for _ in range(levels - 1):
        size = (max(chain[-1].shape[1] // 2, 1), max(chain[-1].shape[0] // 2, 1))
        chain.append(cv2.resize(chain[-1], size, interpolation=cv2.INTER_AREA))
    return chain


@cache
def facade(index: int) -> list[Array]:
    """Mipmap chain of a tileable wall with windows. Its light grey is multiplied by a tint."""
    rng = np.random.default_rng((index, 101))
    height, width = 384, 384
    wall = 215 + 9 * fractal_noise(rng, (height, width), rng.uniform(0.3, 1.2))
    image = np.repeat(wall[..., None], 3, axis=2)
    if index % 3 == 0:
        _bricks(image, rng)
    floors, columns = int(rng.integers(4, 7)), int(rng.integers(4, 9))
    cell_h, cell_w = height / floors, width / columns
    style = _window_style(rng)
    for floor in range(floors):
        if rng.random() < 0.35:
            y = round(floor * cell_h)
            image[y : y + 3] *= 0.82
        for column in range(columns):
            _window(image, rng, style, floor * cell_h, column * cell_w, cell_h, cell_w)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return pyramid(image)


def _bricks(image: Array, rng: np.random.Generator) -> None:
    rows = np.arange(image.shape[0]) // 2
    tone = rng.uniform(0.84, 1.05, (rows.max() + 1, 64))
    columns = (np.arange(image.shape[1])[None] // 5 + (rows[:, None] % 2)) % 64
    image *= tone[rows[:, None], columns][..., None]


def _window_style(rng: np.random.Generator) -> dict[str, float]:
    return {
        "wide": rng.uniform(0.35, 0.75),
        "tall": rng.uniform(0.45, 0.72),
        "frame": rng.uniform(90, 250),
        "glass": rng.uniform(25, 90),
        "cross": rng.random() < 0.5,
        "balcony": rng.random() < 0.2,
        "shutter": rng.uniform(60, 200) if rng.random() < 0.3 else 0.0,
    }


def _window(image, rng, style, top, left, cell_h, cell_w) -> None:
    w, h = int(cell_w * style["wide"]), int(cell_h * style["tall"])
    x, y = int(left + (cell_w - w) / 2), int(top + (cell_h - h) * 0.45)
    glass = np.array([1.15, 1.05, 0.95]) * style["glass"] * rng.uniform(0.6, 1.4)
    image[y - 2 : y + h + 2, x - 2 : x + w + 2] = style["frame"]
    pane = np.linspace(rng.uniform(0.7, 1.8), rng.uniform(0.6, 1.1), h)[:, None, None]
    image[y : y + h, x : x + w] = glass * pane
    if rng.random() < 0.4:
        drop = int(h * rng.uniform(0.15, 0.9))
        image[y : y + drop, x : x + w] = rng.uniform(120, 225)
    if style["cross"]:
        image[y : y + h, x + w // 2 : x + w // 2 + 2] = style["frame"]
        image[y + h // 3 : y + h // 3 + 2, x : x + w] = style["frame"]
    image[y + h + 2 : y + h + 5, max(x - 4, 0) : x + w + 4] = 170
    if style["shutter"]:
        side = max(w // 3, 3)
        image[y : y + h, max(x - side, 0) : x - 2] = style["shutter"]
        image[y : y + h, x + w + 2 : x + w + side] = style["shutter"]
    if style["balcony"]:
        low = y + int(h * 0.6)
        image[low : low + int(h * 0.5), max(x - 5, 0) : x + w + 5 : 3] *= 0.5


@cache
def shop(index: int) -> list[Array]:
    """Mipmap chain of a tileable ground floor, 3.3 m high: windows, doors, signs, garages."""
    rng = np.random.default_rng((index, 103))
    height, width = 80, 384
    image = np.full((height, width, 3), 195.0)
    image += 8 * fractal_noise(rng, (height, width), 0.8)[..., None]
    x = 4
    while x < width - 24:
        wide = int(rng.integers(20, 80))
        right = min(x + wide, width - 4)
        kind = rng.random()
        if kind < 0.55:
            image[22:70, x:right] = rng.uniform(30, 110, 3)
            for _ in range(int(rng.integers(2, 8))):
                a, c = int(rng.integers(x, right)), int(rng.integers(30, 66))
                image[c : c + 8, a : min(a + 9, right)] = rng.uniform(20, 230, 3)
            image[22:70, x : x + 2] = image[22:70, right - 2 : right] = rng.uniform(40, 220)
            image[6:19, x:right] = rng.uniform(20, 230, 3)
            image[10:15, x + 6 : right - 6 : 5] = rng.uniform(150, 255)
        elif kind < 0.75:
            image[20:80, x:right] = rng.uniform(80, 210)
            image[20:80:5, x:right] *= 0.8
        else:
            image[24:80, x : min(x + 22, right)] = rng.uniform(30, 140, 3)
        x = right + int(rng.integers(6, 24))
    return pyramid(np.clip(image, 0, 255).astype(np.uint8))


@cache
def garage(index: int) -> list[Array]:
    """Mipmap chain of tileable garages, 16 m long and 2.67 m high. Low ones cut off the bottom."""
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


def _leaves(image, alpha, centers, sizes, colors, rng) -> None:
    """Draw leaves as ellipses. `alpha` is None for an opaque image."""
    turns = rng.uniform(0, 180, len(centers))
    for (x, y), size, color, turn in zip(centers, sizes, colors, turns, strict=True):
        axes = (max(round(size), 1), max(round(size * 0.6), 1))
        place = (round(x), round(y))
        cv2.ellipse(image, place, axes, turn, 0, 360, color.tolist(), -1)
        if alpha is not None:
            cv2.ellipse(alpha, place, axes, turn, 0, 360, 255, -1)


def _greens(rng: np.random.Generator, light: Array, hue: Array) -> Array:
    color = hue * (0.25 + 0.95 * light[:, None]) * rng.uniform(0.7, 1.3, (len(light), 1))
    return np.clip(color, 0, 255)


def _leaf_hue(rng: np.random.Generator, autumn: bool = True) -> Array:
    """Sample the BGR of sunlit leaves: green, dark green or, if `autumn`, yellow."""
    kind = rng.random() * (1.0 if autumn else 0.88)
    if kind < 0.7:
        return np.array([rng.uniform(35, 75), rng.uniform(115, 160), rng.uniform(85, 130)])
    if kind < 0.88:
        return np.array([rng.uniform(45, 70), rng.uniform(90, 115), rng.uniform(60, 80)])
    return np.array([rng.uniform(30, 60), rng.uniform(95, 130), rng.uniform(140, 190)])


@cache
def crown(index: int) -> list[tuple[Array, Array]]:
    """Mipmap chain of (premultiplied colour, 255 - opacity) of a treetop or bush."""
    rng = np.random.default_rng((index, 107))
    side = 256
    image = np.zeros((side, side, 3), np.uint8)
    alpha = np.zeros((side, side), np.uint8)
    clumps = int(rng.integers(9, 22))
    at = rng.normal(0, 0.42, (clumps, 2)).clip(-0.85, 0.85) * side * 0.36 + side / 2
    radius = rng.uniform(0.13, 0.22, clumps) * side
    at = at.clip(radius[:, None] + 6, side - radius[:, None] - 6)
    hue = _leaf_hue(rng) * (rng.uniform(0.4, 0.75) if index % 3 == 0 else 1.0)
    count = 130
    for k in np.argsort(at[:, 1] + rng.normal(0, 30, clumps)):
        turn, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
        offset = np.stack([np.cos(turn), np.sin(turn)], 1) * reach[:, None]
        order = np.argsort(-offset[:, 1])
        offset = offset[order]
        light = 0.5 - 0.5 * offset[:, 1] + 0.15 * rng.normal(size=count)
        light *= 0.55 + 0.45 * (1 - at[k, 1] / side)
        colors = _greens(rng, light.clip(0.05, 1.1), hue)
        sizes = rng.uniform(3, 7, count)
        _leaves(image, alpha, at[k] + offset * radius[k], sizes, colors, rng)
    return list(zip(pyramid(image), pyramid(255 - alpha), strict=True))


@cache
def crown_outline(index: int, corners: int = 12) -> Array:
    """(corners, 2): outline of the opaque part of a crown, -1 to 1 across and down."""
    opaque = crown(index)[2][1] < 128
    half = opaque.shape[0] / 2
    steps = np.arange(1, int(half))
    turn = np.arange(corners) * 2 * np.pi / corners
    ray = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    at = (half + ray[:, None] * steps[:, None]).astype(int)
    last = (opaque[at[..., 1], at[..., 0]] * steps).max(1) / half
    # Average with the neighbours and shrink a little, because the rim has gaps between leaves.
    return ray * (0.9 * (last + np.roll(last, 1) + np.roll(last, -1)) / 3)[:, None]


@cache
def foliage_wall(index: int) -> list[Array]:
    """Mipmap chain of a tileable hedge or ivy."""
    rng = np.random.default_rng((index, 109))
    side, count = 256, 3500
    image = np.full((side, side, 3), 20, np.uint8)
    at = rng.uniform(0, side, (count, 2))
    light = np.sort(rng.uniform(0.1, 0.9, count)) + 0.15 * np.cos(at[:, 1] / side * 2 * np.pi)
    hue = _leaf_hue(rng, autumn=False) * rng.uniform(0.5, 1.1)
    colors = _greens(rng, light.clip(0.05, 1.0), hue)
    _leaves(image, None, at, rng.uniform(2, 5, count), colors, rng)
    return pyramid(image)


@cache
def sky(index: int) -> Array:
    """(256, 1024, 3) uint8 BGR from zenith to horizon; `sky_kind` gives the weather."""
    rng = np.random.default_rng((index, 113))
    height, width = 256, 1024
    fall = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** rng.uniform(0.6, 1.4)
    kind = ("clear", "broken", "overcast", "dusk")[sky_kind(index)]
    top, low, cover, white = {
        "clear": ((225, 165, 95), (240, 220, 195), -1.2, 250),
        "broken": ((220, 160, 100), (235, 220, 205), 0.0, 245),
        "overcast": ((185, 180, 175), (225, 222, 220), 0.9, 235),
        "dusk": ((130, 95, 75), (140, 170, 225), -0.4, 170),
    }[kind]
    jitter = rng.uniform(0.9, 1.08, (2, 1, 3))
    image = (1 - fall) * np.array(top) * jitter[0] + fall * np.array(low) * jitter[1]
    clouds = fractal_noise(rng, (height, width), 1.6)
    clouds = cv2.resize(clouds[::2], (width, height))
    opacity = 1 / (1 + np.exp(-2.5 * (clouds + cover)))[..., None]
    shade = white - 22 * fractal_noise(rng, (height, width), 1.8)[..., None].clip(-1, 2)
    return np.clip(image * (1 - opacity) + shade * opacity, 0, 255).astype(np.uint8)


def sky_kind(index: int) -> int:
    """Kind of a sky: 0 clear, 1 broken clouds, 2 overcast, 3 dusk."""
    return (0, 0, 1, 1, 2, 2, 0, 1, 2, 3)[index % 10]


@cache
def horizon(index: int) -> tuple[Array, Array]:
    """(colour, 255 - opacity) of a (96, 1536) strip of distant hills, houses and trees."""
    rng = np.random.default_rng((index, 127))
    height, width = 96, 1536
    image = np.zeros((height, width, 3), np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    hill = (height * 0.75 - 9 * np.cumsum(rng.normal(0, 0.08, width))).clip(40, 90)
    hill = cv2.GaussianBlur(hill.astype(np.float32)[None], (61, 1), 0)[0]
    below = np.arange(height)[:, None] > hill[None]
    dark = rng.uniform(0.2, 1.0)
    image[below] = _leaf_hue(rng) * 0.6 * dark + 50 * dark
    alpha[below] = 255
    town = rng.random()
    for x in np.sort(rng.uniform(0, width, int(120 * town))):
        wide, tall = int(rng.integers(14, 60)), int(rng.integers(16, 66))
        x, y = int(x), height - tall
        image[y:, x : x + wide] = rng.uniform(90, 200) * rng.uniform(0.9, 1.1, 3).clip(0, 1.2)
        image[y + 4 :: 7, x + 3 : x + wide - 3 : 5] //= 2
        image[y + 5 :: 7, x + 3 : x + wide - 3 : 5] //= 2
        alpha[y:, x : x + wide] = 255
    for x in rng.uniform(0, width, int(150 * (1.2 - town))):
        color, inverse = crown(int(rng.integers(CROWNS)))[2]
        scale = rng.uniform(0.3, 0.9)
        size = (int(64 * scale * rng.uniform(0.8, 1.6)), int(64 * scale))
        x, y = int(min(x, width - size[0] - 1)), height - int(size[1] * rng.uniform(0.6, 1.0))
        tall = height - y
        part = cv2.resize(color, size)[:tall]
        gap = cv2.resize(inverse, size)[:tall]
        area = (slice(y, y + len(part)), slice(x, x + size[0]))
        behind = cv2.multiply(image[area], cv2.merge([gap] * 3), scale=1 / 255)
        image[area] = cv2.add(behind, part)
        alpha[area] = np.maximum(alpha[area], 255 - gap)
    haze = rng.uniform(0.0, 0.45)
    image = (image * (1 - haze) + 190 * haze).astype(np.uint8)
    alpha = cv2.GaussianBlur(alpha, (3, 3), 0)
    opacity = cv2.merge([alpha] * 3)
    return cv2.multiply(image, opacity, scale=1 / 255), 255 - alpha


@cache
def ground_noise(index: int) -> Array:
    """(512, 512) uint8 around 128: grain, patches and stains."""
    rng = np.random.default_rng((index, 131))
    fine = fractal_noise(rng, (512, 512), 0.25)
    coarse = fractal_noise(rng, (512, 512), 1.3)
    field = 128 + rng.uniform(4, 11) * fine + rng.uniform(4, 10) * coarse
    return np.clip(field, 0, 255).astype(np.uint8)


@cache
def sensor_noise(index: int, height: int, width: int) -> Array:
    """(height, width, 3) uint8 around 128, standard deviation 20, partly correlated."""
    rng = np.random.default_rng((index, 137))
    field = rng.normal(0, 20, (height, width, 3)).astype(np.float32)
    mono = rng.normal(0, 20, (height, width, 1)).astype(np.float32)
    field = 0.6 * field + 0.8 * mono
    if index % 2:
        field = cv2.GaussianBlur(field, (0, 0), 0.7) * 2
    return np.clip(field + 128, 0, 255).astype(np.uint8)
