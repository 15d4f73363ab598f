"""Overlap and matching of ground truth and results, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, bev_iou, volume_iou

Objects = Sequence[KittiObject]
PerImage = Sequence[Objects]
"""The objects of each image."""

_MIN_IMAGE_IOU = 0.5


def match_in_image(truth: Objects, found: Objects, class_name: str) -> list[tuple[int, int]]:
    """Match objects and results of a class that have 3D boxes. Returns pairs of indices.

    In descending order of score, each result takes the unmatched object with the highest IoU of
    the 2D boxes, if it exceeds 0.5.
    """
    rows, columns = (
        [i for i, item in enumerate(side) if item.class_name == class_name and item.has_box3d]
        for side in (truth, found)
    )
    overlap = image_iou([truth[i] for i in rows], [found[i] for i in columns])
    pairs = []
    for column in sorted(range(len(columns)), key=lambda i: -found[columns[i]].score):
        best = int(overlap[:, column].argmax()) if rows else 0
        if rows and overlap[best, column] > _MIN_IMAGE_IOU:
            pairs.append((rows[best], columns[column]))
            overlap[best] = 0
    return pairs


def image_iou(rows: Objects, columns: Objects) -> np.ndarray:
    """Intersection over union of the 2D boxes, (R, C) float64."""
    overlap, row_areas, column_areas = _image_overlap(rows, columns)
    return _ratio(overlap, row_areas[:, None] + column_areas - overlap)


def image_coverage(rows: Objects, columns: Objects) -> np.ndarray:
    """Part of the 2D box of each column that is inside the box of each row, (R, C) float64."""
    overlap, _, column_areas = _image_overlap(rows, columns)
    return _ratio(overlap, np.broadcast_to(column_areas, overlap.shape))


def solid_iou(rows: PerImage, columns: PerImage) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Intersection over union in the bird's-eye view and in 3D, of all images in one batch.

    Returns two lists with one (R, C) float64 array per image: bird's-eye view and 3D.
    """
    pairs = [_near_pairs(*sides) for sides in zip(rows, columns, strict=True)]
    first = _stack(rows, [pair[0] for pair in pairs])
    second = _stack(columns, [pair[1] for pair in pairs])
    shapes = [(len(a), len(b)) for a, b in zip(rows, columns, strict=True)]
    return (
        _tables(bev_iou(first, second).numpy(), pairs, shapes),
        _tables(volume_iou(first, second).numpy(), pairs, shapes),
    )


def _image_overlap(rows: Objects, columns: Objects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas of the intersections (R, C) and of the boxes, (R,) and (C,)."""
    a, b = (
        np.array([item.box2d for item in side], dtype=np.float64).reshape(-1, 4)
        for side in (rows, columns)
    )
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    areas = [(box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b)]
    return np.clip(high - low, 0, None).prod(-1), areas[0], areas[1]


def _ratio(overlap: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(overlap, whole, out=np.zeros_like(overlap), where=overlap > 0)


def _near_pairs(rows: Objects, columns: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pairs with 3D boxes for which circles around the boxes intersect."""
    (a, a_radius), (b, b_radius) = _ground_circles(rows), _ground_circles(columns)
    distance = np.linalg.norm(a[:, None] - b, axis=-1)
    known = [np.array([item.has_box3d for item in side], dtype=bool) for side in (rows, columns)]
    near = distance <= a_radius[:, None] + b_radius
    return np.nonzero(near & known[0][:, None] & known[1])


def _ground_circles(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    centers = np.array([item.center for item in objects]).reshape(-1, 3)[:, 0::2]
    sizes = np.array([item.size for item in objects]).reshape(-1, 3)[:, :2]
    return centers, np.linalg.norm(sizes, axis=-1) / 2


def _stack(images: PerImage, chosen: Sequence[np.ndarray]) -> Boxes3D:
    """The chosen objects of all images as one batch."""
    boxes = [
        [*objects[i].center, *objects[i].size, objects[i].yaw]
        for objects, indices in zip(images, chosen, strict=True)
        for i in indices
    ]
    numbers = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7)
    return Boxes3D(center=numbers[:, :3], size=numbers[:, 3:6], yaw=numbers[:, 6])


def _tables(
    values: np.ndarray,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    shapes: Sequence[tuple[int, int]],
) -> list[np.ndarray]:
    """Tables of the values of all pairs, one per image. Other entries are zero."""
    tables, start = [], 0
    for pair, shape in zip(pairs, shapes, strict=True):
        end = start + len(pair[0])
        tables.append(np.zeros(shape))
        tables[-1][pair] = values[start:end]
        start = end
    return tables
