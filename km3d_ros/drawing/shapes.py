"""Anti-aliased shapes with sub-pixel corners on BGR images, and the colours of the classes."""

from __future__ import annotations

import cv2
import numpy as np

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
CLASS_COLORS: tuple[Color, ...] = (
    (255, 184, 46),
    (120, 92, 255),
    (64, 214, 255),
    (120, 226, 120),
    (230, 130, 220),
    (190, 190, 90),
)

GOLDEN_RATIO = 0.6180339887

FONT = cv2.FONT_HERSHEY_SIMPLEX
_SUBPIXEL_BITS = 4


def color_of(class_index: int) -> Color:
    """The colour of a class in every picture; no two classes share one."""
    if class_index < len(CLASS_COLORS):
        return CLASS_COLORS[class_index]
    # Steps of the golden ratio never repeat a hue.
    hue = round(360 * (class_index * GOLDEN_RATIO % 1))
    pixel = np.array([[[hue, 0.55, 0.95]]], np.float32)
    return tuple(
        round(255 * value) for value in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    )


def mix(color: Color, other: Color, share: float) -> Color:
    """`color` with `share` (0 to 1) of the other one."""
    return tuple(round(a * (1 - share) + b * share) for a, b in zip(color, other, strict=True))


def draw_lines(canvas: np.ndarray, segments: np.ndarray, color: Color, thickness: int = 1) -> None:
    """Draw segments (M, 2, 2), in pixels."""
    if len(segments):
        points = _fixed(segments)
        cv2.polylines(canvas, points, False, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_outline(canvas: np.ndarray, points: np.ndarray, color: Color) -> None:
    """Draw a closed polygon (P, 2), in pixels."""
    cv2.polylines(canvas, _fixed(points)[None], True, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def fill(canvas: np.ndarray, points: np.ndarray, color: Color, opacity: float = 1.0) -> None:
    """Blend a filled convex polygon (P, 2) into the canvas, touching only its surroundings."""
    height, width = canvas.shape[:2]
    x0, y0 = np.clip(np.floor(points.min(0)) - 1, 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(0)) + 2, 0, (width, height)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    region = canvas[y0:y1, x0:x1]
    filled = region.copy()
    cv2.fillConvexPoly(filled, _fixed(points - (x0, y0)), color, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.addWeighted(filled, opacity, region, 1 - opacity, 0, dst=region)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV's fixed-point integers, clipped so that they stay in range."""
    return np.round(np.clip(points, -1e5, 1e5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
