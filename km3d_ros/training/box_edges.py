"""2D boxes as labels: which of their edges are those of the object.

A box ends at the object, at the image border, or where a nearer object begins. Only edges of the
first kind teach the extent of the keypoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from km3d_ros.data.class_names import DONT_CARE
from km3d_ros.data.kitti_labels import KittiObject

BORDER = 3.0
"""An edge within this many pixels of the image border counts as the border."""
MOST_COVERED = 0.4
"""Largest part of a box that nearer boxes may cover. A box that is covered more is ignored."""
MOST_COVERED_EDGE = 1 / 3
"""Largest part of an edge that nearer boxes may cover. An edge covered more is not used."""
LEAST_LEFT = 0.4
"""Smallest part of a labelled box that cuts may leave. If less is left, the box is ignored."""
SAMPLES = 16
"""Sample points per side from which covered parts are computed."""

Box = tuple[float, float, float, float]
Edges = tuple[bool, bool, bool, bool]
OWN: Edges = (True, True, True, True)


@dataclass(frozen=True)
class Box2D:
    """The visible 2D box of an object.

    class_name: a class, or "DontCare" for a region that is ignored.
    box: x0, y0, x1, y1 in pixels.
    own: whether the left, top, right and bottom edge is that of the object, and not that of the
        image, of a cut or of a nearer object.
    left: part of the labelled box that is left after cuts, 0 to 1.
    """

    class_name: str
    box: Box
    own: Edges = OWN
    left: float = 1.0


def boxes_of(objects: Sequence[KittiObject], width: int, height: int) -> list[Box2D]:
    """The labelled boxes of an image of `width`×`height` pixels.

    Of two boxes, the one with the lower bottom edge counts as nearer, because both objects stand
    on the same ground.
    """
    boxes = np.array([item.box2d for item in objects], np.float64).reshape(-1, 4)
    near = boxes[:, :2] > BORDER
    far = boxes[:, 2:] < np.array((width, height)) - 1 - BORDER
    area, edges = _covered(boxes)
    own = (edges < MOST_COVERED_EDGE) & np.hstack((near, far))
    return [
        Box2D(DONT_CARE if hidden else item.class_name, item.box2d, tuple(flags))
        for item, hidden, flags in zip(objects, area > MOST_COVERED, own.tolist(), strict=True)
    ]


def mirrored_boxes(boxes: Iterable[Box2D], width: int) -> list[Box2D]:
    """The boxes in the left-right mirror image of an image of `width` pixels."""
    found = []
    for item in boxes:
        x0, y0, x1, y1 = item.box
        left, top, right, bottom = item.own
        box = (width - 1 - x1, y0, width - 1 - x0, y1)
        found.append(replace(item, box=box, own=(right, top, left, bottom)))
    return found


def seen_boxes(boxes: Iterable[Box2D], affine: np.ndarray, window: Box) -> list[Box2D]:
    """The boxes after an affine (2, 3) that scales and shifts, cut to a window.

    A box of which too little is left becomes an ignored region. A box outside the window is left
    out.

    window: x0, y0, x1, y1 in pixels after the affine.
    """
    found = []
    for item in boxes:
        corners = np.reshape(item.box, (2, 2)) @ affine[:, :2].T + affine[:, 2]
        cut = np.clip(corners, window[:2], window[2:])
        before, after = np.prod(corners[1] - corners[0]), np.prod(cut[1] - cut[0])
        if after <= 0:
            continue
        own = tuple((np.array(item.own) & (cut == corners).ravel()).tolist())
        left = item.left * float(after / before)
        name = item.class_name if left >= LEAST_LEFT else DONT_CARE
        found.append(Box2D(name, tuple(cut.ravel().tolist()), own, left))
    return found


def _covered(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts (N,) of the boxes and (N, 4) of their edges that nearer boxes cover."""
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    ends = np.zeros(SAMPLES), np.ones(SAMPLES)
    u, v = (grid.ravel() for grid in np.meshgrid(steps, steps))
    u = np.concatenate((u, ends[0], steps, ends[1], steps))
    v = np.concatenate((v, steps, ends[0], steps, ends[1]))
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    points = low + np.stack((u, v), axis=-1) * (high - low)
    hidden = np.zeros(points.shape[:2], bool)
    for box in boxes:
        inside = (points >= box[:2] - BORDER) & (points <= box[2:] + BORDER)
        hidden |= inside.all(-1) & (boxes[:, 3:] < box[3])
    area, edges = np.split(hidden, [SAMPLES**2], axis=1)
    return area.mean(1), edges.reshape(-1, 4, SAMPLES).mean(-1)
