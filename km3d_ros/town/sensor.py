"""Effects of lens, sensor and image file on a rendered image."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.scene import Array, Film


@lru_cache(maxsize=64)
def _vignette(height: int, width: int, steps: int) -> Array:
    """(height, width, 3) uint8 gain, 255 for 1. Corners are darker by `steps` twentieths."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = (0.3 * y**2 + 0.7 * x**2).astype(np.float32)
    mask = 255 * (1 - steps / 20 * falloff)
    return cv2.merge([mask.astype(np.uint8)] * 3)


def develop(canvas: Array, film: Film) -> Array:
    """The image as the camera delivers it, (height, width, 3) uint8."""
    height, width = canvas.shape[:2]
    if film.motion:
        canvas = cv2.blur(canvas, (film.motion, 1))
    if film.blur:
        canvas = cv2.GaussianBlur(canvas, (5, 5), film.blur)
    steps = round(film.vignette * 20)
    if steps:
        canvas = cv2.multiply(canvas, _vignette(height, width, steps), scale=1 / 255)
    canvas = cv2.LUT(canvas, _curve(film))
    noise = textures.sensor_noise(film.noise_index, height, width)
    canvas = cv2.addWeighted(canvas, 1.0, noise, film.noise, -128 * film.noise)
    if film.jpeg:
        _, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, film.jpeg])
        canvas = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return canvas


def _curve(film: Film) -> Array:
    """(1, 256, 3) look-up table of exposure, white balance and contrast."""
    level = np.linspace(0, 1, 256)[:, None] * np.array(film.balance) * film.gain
    level = 0.45 + (level - 0.45) * film.contrast
    soft = np.where(level > 0.85, 0.85 + 0.15 * np.tanh((level - 0.85) / 0.15), level)
    return (255 * np.clip(soft, 0, 1)).astype(np.uint8)[None]
