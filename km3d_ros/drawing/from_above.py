"""The scene from above; no ROS."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.drawing.shapes import (
    FONT,
    WHITE,
    Color,
    color_of,
    draw_lines,
    draw_outline,
    fill,
    mix,
)
from km3d_ros.drawing.tracks import Track, draw_tracks_from_above
from km3d_ros.geometry.camera import CameraModel, with_depth
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.geometry.virtual_camera import axis_lines
from km3d_ros.inference.detections import Detections

BACKGROUND: Color = (30, 26, 23)
FIELD_OF_VIEW: Color = (43, 38, 34)
GRID: Color = (62, 56, 51)
TEXT: Color = (170, 164, 158)


def draw_bev(
    detections: Detections,
    camera: CameraModel,
    class_names: Sequence[str],
    *,
    size: tuple[int, int] = (600, 600),
    range: float = 60.0,
    ground_truth: Sequence[KittiObject] | None = None,
    tracks: Sequence[Track] = (),
) -> np.ndarray:
    """The level frame from above: grid, field of view, boxes with heading, 1 sigma ellipses.

    Forward points up in an upright or square picture and to the right in a wide one.

    detections: the boxes, in the camera's optical frame.
    size: (width, height) of the picture in pixels.
    range: metres ahead of the camera that the picture shows.
    ground_truth: boxes to outline, if they are known: white, or grey where the model does not know
        their class.
    tracks: objects whose numbers, velocities and trails are drawn.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    view = _TopView(size, range)
    canvas = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    _ground(canvas, view, camera)
    if len(detections):
        _footprints(canvas, view, detections, camera)
    for box in ground_truth or ():
        if min(box.size) > 0:
            values = (np.array([value]) for value in (box.center, box.size, box.yaw))
            (outline,) = view.pixels(_footprint_corners(*values, camera))
            color = WHITE if box.class_name in class_names else TEXT
            draw_outline(canvas, outline, color)
            draw_lines(canvas, _heading(outline)[None], color)
    draw_tracks_from_above(canvas, tracks, camera, view.pixels)
    _legend(canvas, class_names, ground_truth is not None)
    return canvas


class _TopView:
    """Maps metres on the ground, (right x, forward z), to pixels of the picture from above."""

    def __init__(self, size: tuple[int, int], reach: float) -> None:
        self.size = size
        self.reach = reach
        self.behind = 0.06 * reach
        self.wide = size[0] > size[1]
        self.scale = max(size) / (reach + self.behind)
        self.aside = min(size) / 2 / self.scale

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) metres to (..., 2) pixels."""
        x, z = points[..., 0] * self.scale, (points[..., 1] + self.behind) * self.scale
        if self.wide:
            return np.stack([z, self.size[1] / 2 + x], -1)
        return np.stack([self.size[0] / 2 + x, self.size[1] - z], -1)


def _ground(canvas: np.ndarray, view: _TopView, camera: CameraModel) -> None:
    """Draw the field of view, the metre grid with its distances, and the vehicle."""
    across, _ = axis_lines(camera)
    x, _, z = (with_depth(camera.rays(across)) @ camera.level.T).T
    slopes = x[z > 0] / z[z > 0]
    if len(slopes):
        far = 2 * view.reach
        left, right = float(slopes.min()), float(slopes.max())
        wedge = np.array([(0, 0), (left * far, far), (right * far, far)])
        fill(canvas, view.pixels(wedge), FIELD_OF_VIEW)
    step = 10.0 if view.reach > 30 else 5.0
    ahead = np.arange(step, view.reach, step)
    aside = np.arange(-(view.aside // step) * step, view.aside, step)
    across = [[(-view.aside, z), (view.aside, z)] for z in ahead]
    along = [[(x, -view.behind), (x, view.reach)] for x in aside]
    draw_lines(canvas, view.pixels(np.array(across + along)), GRID)
    for z in ahead:
        x, y = view.pixels(np.array([view.aside if view.wide else -view.aside, z]))
        origin = (round(x) + 4, round(y) - 5)
        cv2.putText(canvas, f"{z:.0f} m", origin, FONT, 0.38, TEXT, 1, cv2.LINE_AA)
    rear = -view.behind
    ego = view.pixels(np.array([(-0.9, rear), (-0.9, -1), (0, 0), (0.9, -1), (0.9, rear)]))
    fill(canvas, ego, TEXT)


def _footprint_corners(
    center: np.ndarray, size: np.ndarray, yaw: np.ndarray, camera: CameraModel
) -> np.ndarray:
    """(N, 4, 2) ground corners (x, z) in metres of the level frame; first the two of the front."""
    corners = center[:, None] + corner_offsets(size, yaw, camera.level)
    return (corners @ camera.level.T)[:, :4, [0, 2]]


def _heading(outline: np.ndarray) -> np.ndarray:
    """(2, 2): the line from the middle of the front, as long as a quarter of the box."""
    front = outline[:2].mean(0)
    return np.stack([front, front + 0.5 * (front - outline.mean(0))])


def _footprints(
    canvas: np.ndarray, view: _TopView, detections: Detections, camera: CameraModel
) -> None:
    """Draw filled boxes, each with a heading line and the 1 sigma ellipse of its position."""
    values = (detections.center, detections.size, detections.yaw)
    outlines = view.pixels(_footprint_corners(*values, camera))
    ellipses = _ellipses(detections, camera)
    for i, outline in enumerate(outlines):
        color = color_of(int(detections.class_index[i]))
        fill(canvas, outline, color, 0.6)
        draw_outline(canvas, outline, color)
        draw_lines(canvas, np.stack([outline[:2], _heading(outline)]), color, 2)
        if np.isfinite(ellipses[i]).all():
            draw_outline(canvas, view.pixels(ellipses[i]), mix(color, WHITE, 0.5))


def _ellipses(detections: Detections, camera: CameraModel) -> np.ndarray:
    """(N, 48, 2): 1 sigma ellipses of (x, z) in the level frame; NaN where they are unknown."""
    ground = camera.level[[0, 2]]
    covariance = ground @ detections.covariance[:, :3, :3] @ ground.T
    finite = np.isfinite(covariance).all((1, 2))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], covariance, 0))
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    ellipses = circle @ (vectors * np.sqrt(values.clip(0))[:, None]).transpose(0, 2, 1)
    ellipses += (detections.center @ ground.T)[:, None]
    ellipses[~finite] = np.nan
    return ellipses


def _legend(canvas: np.ndarray, class_names: Sequence[str], with_truth: bool) -> None:
    """Draw the class names in their colours along the top."""
    entries = [(name, color_of(i)) for i, name in enumerate(class_names)]
    if with_truth:
        entries.append(("ground truth", WHITE))
    x, y = 12, 20
    for name, color in entries:
        cv2.circle(canvas, (x, y - 4), 4, color, cv2.FILLED, cv2.LINE_AA)
        cv2.putText(canvas, name, (x + 10, y), FONT, 0.4, TEXT, 1, cv2.LINE_AA)
        x += 30 + cv2.getTextSize(name, FONT, 0.4, 1)[0][0]
