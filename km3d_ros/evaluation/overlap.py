"""Overlap of ground truth and results, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from km3d_ros.data.kitti import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, bev_iou, volume_iou

Objects = Sequence[KittiObject]


def image_iou(rows: Objects, columns: Objects) -> np.ndarray:
    """Intersection over union of the 2D boxes, (R, C) float64."""
    overlap, row_areas, column_areas = _image_overlap(rows, columns)
    return _ratio(overlap, row_areas[:, None] + column_areas - overlap)


def image_coverage(rows: Objects, columns: Objects) -> np.ndarray:
    """Part of the 2D box of each column that lies in the box of each row, (R, C) float64."""
    overlap, _, column_areas = _image_overlap(rows, columns)
    return _ratio(overlap, np.broadcast_to(column_areas, overlap.shape))


def solid_iou(
    rows: Sequence[Objects], columns: Sequence[Objects]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Intersection over union from above and of the volumes, of all images in one go.

    Args:
        rows, columns: the objects of each image; both have one entry per image.

    Returns:
        Two lists with one (R, C) float64 array per image: bird's-eye view and volume.
    """
    pairs = [_near_pairs(*objects) for objects in zip(rows, columns, strict=True)]
    first, second = (
        _stack(
            [objects[i] for objects, pair in zip(side, pairs, strict=True) for i in pair[number]]
        )
        for number, side in enumerate((rows, columns))
    )
    ends = np.cumsum([len(pair[0]) for pair in pairs])[:-1]
    tables = []
    for iou in (bev_iou(first, second), volume_iou(first, second)):
        tables.append(
            [
                _table(values, pair, (len(a), len(b)))
                for values, pair, a, b in zip(
                    np.split(iou.numpy(), ends), pairs, rows, columns, strict=True
                )
            ]
        )
    return tables[0], tables[1]


def _image_overlap(rows: Objects, columns: Objects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shared area (R, C), and the areas (R,) and (C,)."""
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
    """Indices of the pairs whose circles around the ground rectangles meet."""
    (a, a_radius), (b, b_radius) = _ground_circles(rows), _ground_circles(columns)
    distance = np.linalg.norm(a[:, None] - b, axis=-1)
    return np.nonzero(distance <= a_radius[:, None] + b_radius)


def _ground_circles(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    centers = np.array([item.center for item in objects]).reshape(-1, 3)[:, 0::2]
    sizes = np.array([item.size for item in objects]).reshape(-1, 3)[:, :2]
    return centers, np.linalg.norm(sizes, axis=-1) / 2


def _stack(objects: Objects) -> Boxes3D:
    return Boxes3D(
        center=torch.tensor([item.center for item in objects], dtype=torch.float64).reshape(-1, 3),
        size=torch.tensor([item.size for item in objects], dtype=torch.float64).reshape(-1, 3),
        yaw=torch.tensor([item.yaw for item in objects], dtype=torch.float64),
    )


def _table(
    values: np.ndarray, pair: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    table = np.zeros(shape)
    table[pair] = values
    return table
