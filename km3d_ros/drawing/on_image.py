"""Boxes on the camera image; no ROS."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from km3d_ros.drawing.shapes import BLACK, FONT, WHITE, color_of, draw_lines, fill, mix
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.inference.detections import Detections

# Faces as corner indices (docs/design.md, Conventions): four sides from the front on, bottom, top.
FACES = np.array(
    [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (0, 1, 2, 3), (4, 5, 6, 7)]
)
# The twelve edges (bottom, top, upright) and the two faces that meet in each. An edge is hidden
# where both faces look away from the camera.
EDGES = np.array([(k, (k + 1) % 4) for k in range(4)])
EDGES = np.concatenate([EDGES, EDGES + 4, [(k, k + 4) for k in range(4)]])
EDGE_FACES = np.array([(k, lid) for lid in (4, 5) for k in range(4)])
EDGE_FACES = np.concatenate([EDGE_FACES, [((k - 1) % 4, k) for k in range(4)]])
# A closed path around the front face: its edges, and the end of each that comes first.
FRONT_EDGES = np.array([0, 9, 4, 8])[:, None]
FRONT_ENDS = np.array([(0, 1), (0, 1), (1, 0), (1, 0)])

NEAR = 0.1
"""Distance from the image plane, in metres, at which boxes are clipped."""


def draw_detections(
    image: np.ndarray, detections: Detections, camera: CameraModel, class_names: Sequence[str]
) -> np.ndarray:
    """Draw every box on a copy of the camera image, the nearest on top.

    The front face is shaded. Edges that the box itself hides are thin. Parts behind the camera are
    clipped. Labels give class, score and distance in metres from the camera to the box centre. The
    horizon of a camera that does not look level is a thin line.

    image: (H, W, 3) uint8, BGR, the image that `camera` describes. The copy has the same form.
    detections: the boxes, in the camera's optical frame.
    """
    canvas = image.copy()
    if not camera.is_level:
        draw_lines(canvas, _horizon(camera), WHITE)
    if len(detections) == 0:
        return canvas
    offsets = corner_offsets(detections.size, detections.yaw, camera.level)
    corners = detections.center[:, None] + offsets
    normals = offsets[:, FACES].mean(2)
    facing = (corners[:, FACES].mean(2) * normals).sum(-1) < 0
    segments, kept = _clip(corners[:, EDGES], camera)
    lines = camera.project(segments)

    order = np.argsort(-corners[..., 2].mean(1))
    order = order[kept[order].any(1)]
    for i in order:
        color = color_of(int(detections.class_index[i]))
        front = lines[i, FRONT_EDGES, FRONT_ENDS][kept[i, FRONT_EDGES[:, 0]]]
        if len(front):
            fill(canvas, front.reshape(-1, 2), color, 0.4 if facing[i, 0] else 0.2)
        visible = facing[i, EDGE_FACES].any(1)
        draw_lines(canvas, lines[i, kept[i] & ~visible], mix(color, BLACK, 0.25))
        if np.ptp(lines[i, kept[i], :, 1]) > image.shape[0] / 8:
            draw_lines(canvas, lines[i, kept[i] & visible], BLACK, 4)
        draw_lines(canvas, lines[i, kept[i] & visible], color, 2)
    _labels(canvas, detections, class_names, order[::-1])
    return canvas


def _horizon(camera: CameraModel) -> np.ndarray:
    """Segments (M, 2, 2) of the horizon in pixels, as far as the lens images it."""
    angles = np.radians(np.arange(-88, 89))
    level = np.stack((np.sin(angles), np.zeros_like(angles), np.cos(angles)), -1)
    directions = level @ camera.level @ camera.rotation
    pixels, seen = camera.to_pixels(directions), camera.images(directions)
    return np.stack((pixels[:-1], pixels[1:]), 1)[seen[:-1] & seen[1:]]


def _clip(segments: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Clip segments (..., 2, 3) to the view of the camera.

    The view extends a little beyond the image, where lens distortion models still hold.

    Returns:
        The clipped segments, and which of them (...) have anything left.
    """
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, 9),) * 2), axis=-1).reshape(-1, 2)
    rays = camera.rays(grid * camera.size)  # NaN where the lens model has no ray
    low, high = np.nanmin(rays, 0), np.nanmax(rays, 0)
    (left, top), (right, bottom) = low - 0.1 * (high - low), high + 0.1 * (high - low)
    normals = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -top], [0, -1, bottom], [0, 0, 1]])
    inside = segments @ normals.T - np.array([0, 0, 0, 0, NEAR])
    start, end = inside[..., 0, :], inside[..., 1, :]
    crossing = start / np.where(start == end, 1, start - end)
    enter = np.where((start < 0) & (end >= 0), crossing, 0).max(-1)
    leave = np.where((start >= 0) & (end < 0), crossing, 1).min(-1)
    kept = ~((start < 0) & (end < 0)).any(-1) & (enter < leave)
    share = np.stack([enter, leave], -1)[..., None]
    clipped = segments[..., :1, :] * (1 - share) + segments[..., 1:, :] * share
    # A segment without anything left becomes a point that can be projected.
    return np.where(kept[..., None, None], clipped, (0.0, 0.0, 1.0)), kept


def _labels(
    canvas: np.ndarray, detections: Detections, class_names: Sequence[str], order: np.ndarray
) -> None:
    """Label boxes above their top-left corners, in this order; later labels move up."""
    scale = max(0.35, 0.42 * canvas.shape[1] / 1280)
    classes, scores = detections.class_index.tolist(), detections.score.tolist()
    distances, boxes = np.linalg.norm(detections.center, axis=1), detections.box2d.tolist()
    placed: dict[int, tuple[int, int, int, int]] = {}
    texts = {i: f"{class_names[classes[i]]} {scores[i]:.2f}  {distances[i]:.1f} m" for i in order}
    for i, text in texts.items():
        (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
        width, height = width + 8, height + 9
        x = int(np.clip(boxes[i][0], 0, max(0, canvas.shape[1] - width)))
        y = int(np.clip(boxes[i][1] - height - 3, 0, max(0, canvas.shape[0] - height)))
        while any(_overlap((x, y, width, height), other) for other in placed.values()):
            y -= height + 1
        if y >= 0:
            placed[i] = (x, y, width, height)
    for i, (x, y, _, height) in placed.items():
        leader = np.array([[(x, y + height), (x, boxes[i][1])]])
        draw_lines(canvas, leader, color_of(classes[i]))
    for i, (x, y, width, height) in placed.items():
        region = canvas[y : y + height, x : x + width]
        plate = np.full_like(region, color_of(classes[i]))
        region[:] = cv2.addWeighted(region, 0.2, plate, 0.8, 0)
        origin = (x + 4, y + height - 5)
        cv2.putText(canvas, texts[i], origin, FONT, scale, BLACK, 1, cv2.LINE_AA)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two rectangles (x, y, width, height) share pixels."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
