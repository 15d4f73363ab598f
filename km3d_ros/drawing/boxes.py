"""Pictures of detections: boxes on the camera image, and the scene from above.

OpenCV and numpy only, no ROS: the node, `km3d detect --draw` and the demo share it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from km3d_ros.data.kitti import KittiObject
from km3d_ros.drawing.shapes import (
    BLACK,
    FONT,
    WHITE,
    Color,
    color_of,
    draw_lines,
    draw_outline,
    fill,
    mix,
)
from km3d_ros.geometry.box3d import corner_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections

# Faces as corner indices (docs/design.md, Conventions): four sides from the front on, bottom, top.
FACES = np.array(
    [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (0, 1, 2, 3), (4, 5, 6, 7)]
)
# The twelve edges (bottom, top, upright) and the two faces that meet in each: an edge is hidden
# where both look away.
EDGES = np.array([(k, (k + 1) % 4) for k in range(4)])
EDGES = np.concatenate([EDGES, EDGES + 4, [(k, k + 4) for k in range(4)]])
EDGE_FACES = np.array([(k, lid) for lid in (4, 5) for k in range(4)])
EDGE_FACES = np.concatenate([EDGE_FACES, [((k - 1) % 4, k) for k in range(4)]])
# Once around the front face: its edges, and which end of each comes first.
FRONT_EDGES = np.array([0, 9, 4, 8])[:, None]
FRONT_ENDS = np.array([(0, 1), (0, 1), (1, 0), (1, 0)])

NEAR = 0.1  # metres: what is closer to the image plane, or behind it, is cut off

BACKGROUND: Color = (30, 26, 23)
FIELD_OF_VIEW: Color = (43, 38, 34)
GRID: Color = (62, 56, 51)
TEXT: Color = (170, 164, 158)


def draw_detections(
    image: np.ndarray, detections: Detections, camera: CameraModel, class_names: Sequence[str]
) -> np.ndarray:
    """Draw every box on a copy of the camera image, the nearest on top.

    The front face is shaded, edges that the box itself hides are thin, and what lies behind the
    camera is cut off. Labels give class, score and distance (metres to the centre).

    Args:
        image: (H, W, 3) uint8, BGR, the image that `camera` describes.
        detections: the boxes, in the camera's optical frame.
        camera: projects the box edges, distortion included.
        class_names: names by class index.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = image.copy()
    if len(detections) == 0:
        return canvas
    offsets = corner_offsets(detections.size.double(), detections.yaw.double())
    corners = (detections.center.double()[:, None] + offsets).cpu().numpy()
    normals = offsets.cpu().numpy()[:, FACES].mean(2)
    facing = (corners[:, FACES].mean(2) * normals).sum(-1) < 0
    segments, kept = _clip(corners[:, EDGES], camera)
    lines = camera.project(torch.from_numpy(segments)).numpy()

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


def draw_bev(
    detections: Detections,
    camera: CameraModel,
    class_names: Sequence[str],
    *,
    size: tuple[int, int] = (600, 600),
    range: float = 60.0,
    ground_truth: Sequence[KittiObject] | None = None,
) -> np.ndarray:
    """Draw the scene from above: grid, field of view, boxes with heading, 1 sigma ellipses.

    Forward points up in an upright or square picture, to the right in a wide one.

    Args:
        detections: the boxes, in the camera's optical frame.
        camera: its field of view is drawn.
        class_names: names by class index, for the legend.
        size: (width, height) of the picture in pixels.
        range: metres ahead of the camera that the picture shows.
        ground_truth: boxes to outline, where they are known; white, or grey if their class is
            none that the model knows.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    view = _TopView(size, range)
    canvas = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    _ground(canvas, view, camera)
    if len(detections):
        _footprints(canvas, view, detections)
    boxes = [box for box in ground_truth or () if min(box.size) > 0]
    if boxes:
        values = [torch.tensor([getattr(b, name) for b in boxes]) for name in ("size", "yaw")]
        centers = torch.tensor([box.center for box in boxes])
        outlines = view.pixels(_footprint_corners(centers, *values))
        for box, outline in zip(boxes, outlines, strict=True):
            color = WHITE if box.class_name in class_names else TEXT
            draw_outline(canvas, outline, color)
            draw_lines(canvas, _heading(outline)[None], color)
    _legend(canvas, class_names, ground_truth is not None)
    return canvas


def _clip(segments: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Cut segments (..., 2, 3) to what the camera sees; also says which have anything left.

    The view is cut a little outside the image, where lens distortion models still hold.
    """
    w, h = camera.width, camera.height
    border = torch.tensor([[0, 0], [w, 0], [w, h], [0, h]], dtype=torch.float64)
    rays = camera.rays(border).numpy()
    margin = 0.1 * (np.nanmax(rays, 0) - np.nanmin(rays, 0))
    (left, top), (right, bottom) = np.nanmin(rays, 0) - margin, np.nanmax(rays, 0) + margin
    normals = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -top], [0, -1, bottom], [0, 0, 1]])
    inside = segments @ normals.T - np.array([0, 0, 0, 0, NEAR])
    start, end = inside[..., 0, :], inside[..., 1, :]
    crossing = start / np.where(start == end, 1, start - end)
    enter = np.where((start < 0) & (end >= 0), crossing, 0).max(-1)
    leave = np.where((start >= 0) & (end < 0), crossing, 1).min(-1)
    kept = ~((start < 0) & (end < 0)).any(-1) & (enter < leave)
    share = np.stack([enter, leave], -1)[..., None]
    clipped = segments[..., :1, :] * (1 - share) + segments[..., 1:, :] * share
    # Whatever is cut away entirely must still be a point that can be projected.
    return np.where(kept[..., None, None], clipped, (0.0, 0.0, 1.0)), kept


def _labels(
    canvas: np.ndarray, detections: Detections, class_names: Sequence[str], order: np.ndarray
) -> None:
    """Label boxes above their top-left corner in this order; later ones give way upwards."""
    scale = max(0.35, 0.42 * canvas.shape[1] / 1280)
    classes, scores = detections.class_index.tolist(), detections.score.tolist()
    distances, boxes = detections.center.norm(dim=1).tolist(), detections.box2d.tolist()
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
    """Field of view, metre grid with figures, and the camera."""
    border = torch.tensor([[0.0, camera.cy], [camera.width - 1.0, camera.cy]], dtype=torch.float64)
    slopes = camera.rays(border)[:, 0].tolist()
    far = 2 * view.reach
    wedge = np.array([(0, 0), *((slope * far, far) for slope in slopes)])
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


def _footprint_corners(center: torch.Tensor, size: torch.Tensor, yaw: torch.Tensor) -> np.ndarray:
    """(N, 4, 2) ground corners (x, z) in metres; the first two are the front."""
    corners = center.double()[:, None] + corner_offsets(size.double(), yaw.double())
    return corners[:, :4, [0, 2]].cpu().numpy()


def _heading(outline: np.ndarray) -> np.ndarray:
    """(2, 2): the line from the middle of the front, as long as a quarter of the box."""
    front = outline[:2].mean(0)
    return np.stack([front, front + 0.5 * (front - outline.mean(0))])


def _footprints(canvas: np.ndarray, view: _TopView, detections: Detections) -> None:
    """Filled boxes with a heading line and the 1 sigma ellipse of their position."""
    outlines = view.pixels(_footprint_corners(detections.center, detections.size, detections.yaw))
    ellipses = _ellipses(detections)
    for i, outline in enumerate(outlines):
        color = color_of(int(detections.class_index[i]))
        fill(canvas, outline, color, 0.6)
        draw_outline(canvas, outline, color)
        draw_lines(canvas, np.stack([outline[:2], _heading(outline)]), color, 2)
        if np.isfinite(ellipses[i]).all():
            draw_outline(canvas, view.pixels(ellipses[i]), mix(color, WHITE, 0.5))


def _ellipses(detections: Detections) -> np.ndarray:
    """(N, 48, 2): 1 sigma ellipses of (x, z) in metres; NaN where the covariance is not finite."""
    covariance = detections.covariance[:, [[0], [2]], [0, 2]].double().cpu().numpy()
    finite = np.isfinite(covariance).all((1, 2))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], covariance, 0))
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    ellipses = circle @ (vectors * np.sqrt(values.clip(0))[:, None]).transpose(0, 2, 1)
    ellipses += detections.center[:, None, [0, 2]].double().cpu().numpy()
    ellipses[~finite] = np.nan
    return ellipses


def _legend(canvas: np.ndarray, class_names: Sequence[str], with_truth: bool) -> None:
    """Names of the classes in their colours, along the top."""
    entries = [(name, color_of(i)) for i, name in enumerate(class_names)]
    if with_truth:
        entries.append(("ground truth", WHITE))
    x, y = 12, 20
    for name, color in entries:
        cv2.circle(canvas, (x, y - 4), 4, color, cv2.FILLED, cv2.LINE_AA)
        cv2.putText(canvas, name, (x + 10, y), FONT, 0.4, TEXT, 1, cv2.LINE_AA)
        x += 30 + cv2.getTextSize(name, FONT, 0.4, 1)[0][0]
