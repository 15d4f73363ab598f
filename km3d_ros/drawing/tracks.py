"""Identities, velocities and trails of tracked objects, on the camera image and from above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from km3d_ros.drawing.shapes import BLACK, FONT, WHITE, color_of, draw_lines, mix
from km3d_ros.geometry.camera import CameraModel

SHOWN_SPEED = 0.5
"""Metres per second below which an object has no arrow."""
NEAR = 1.0
"""Metres before the camera from which arrows are drawn."""
TIP = 1.2
"""Length of the tip of an arrow in metres, at most a third of the arrow."""


@dataclass(frozen=True)
class Track:
    """A tracked object at the time of an image, in the camera's optical frame.

    number: its identity. class_index: colour. center: (3,) metres. velocity: (3,) m/s over
    ground. height: metres. trail: (K, 3) where its centre was, the oldest first.
    """

    number: int
    class_index: int
    center: np.ndarray
    velocity: np.ndarray
    height: float
    trail: np.ndarray

    @property
    def speed(self) -> float:
        """Metres per second."""
        return float(np.linalg.norm(self.velocity))


def draw_tracks_on_image(canvas: np.ndarray, tracks: Sequence[Track], camera: CameraModel) -> None:
    """Draw numbers on the objects, and arrows on the ground: the motion of one second."""
    down = camera.level[1]
    scale = max(0.4, 0.5 * canvas.shape[1] / 1280)
    for track in sorted(tracks, key=lambda t: -t.center[2]):
        if track.center[2] < NEAR:
            continue
        foot = track.center + down * track.height / 2
        ends = np.stack([foot, foot + track.velocity])
        if track.speed >= SHOWN_SPEED and (ends[:, 2] >= NEAR).all():
            arrow = camera.project(_arrow(ends, np.cross(track.velocity, down)))
            draw_lines(canvas, arrow, BLACK, 5)
            draw_lines(canvas, arrow, WHITE, 2)
        _write(canvas, str(track.number), camera.project(track.center[None])[0], scale)


def draw_tracks_from_above(
    canvas: np.ndarray,
    tracks: Sequence[Track],
    camera: CameraModel,
    pixels: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Draw numbers, arrows (the motion of one second) and trails into a picture from above.

    pixels: of (..., 2) metres to the right and ahead.
    """
    ground = camera.level[[0, 2]]
    for track in tracks:
        color = color_of(track.class_index)
        trail = pixels(track.trail @ ground.T)
        draw_lines(canvas, np.stack([trail[:-1], trail[1:]], 1), mix(color, WHITE, 0.3), 2)
        center, velocity = ground @ track.center, ground @ track.velocity
        if track.speed >= SHOWN_SPEED:
            side = np.array([-velocity[1], velocity[0]])
            arrow = _arrow(np.stack([center, center + velocity]), side)
            draw_lines(canvas, pixels(arrow), WHITE, 2)
        _write(canvas, str(track.number), pixels(center), 0.4)


def _arrow(ends: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(3, 2, D): an arrow from the first to the second of the ends (2, D), which differ.

    side: (D,) a vector across it, of any length.
    """
    way = ends[1] - ends[0]
    along = way * min(TIP / np.linalg.norm(way), 1 / 3)
    across = side / np.linalg.norm(side) * np.linalg.norm(along) / 2
    barbs = [np.stack([ends[1], ends[1] - along + sign * across]) for sign in (-1, 1)]
    return np.stack([ends, *barbs])


def _write(canvas: np.ndarray, text: str, center: np.ndarray, scale: float) -> None:
    """White text with a black edge around a pixel."""
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    if not (np.abs(center) < 1e5).all():
        return
    origin = (round(float(center[0]) - width / 2), round(float(center[1]) + height / 2))
    for color, thickness in ((BLACK, 4), (WHITE, 1)):
        cv2.putText(canvas, text, origin, FONT, scale, color, thickness, cv2.LINE_AA)
