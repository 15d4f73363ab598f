"""The result of a detector for one image, as named arrays and as one table of numbers.

The table needs only one copy from device to host, and is the output of an exported graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

from km3d_ros.geometry.virtual_camera import VirtualCamera

SHAPES: dict[str, tuple[int, ...]] = {
    "box2d": (4,),
    "keypoints": (9, 2),
    "size": (3,),
    "center": (3,),
    "covariance": (4, 4),
}
"""Shapes, per object, of the fields that are not one number."""


@dataclass(frozen=True)
class Detections:
    """N objects of one image, ordered by falling peak score; float32 arrays unless stated.

    Pixels are those of the camera image, positions are metres in the camera's optical frame
    (x right, y down, z forward), angles are radians in [-pi, pi). The vertical axis of a box is
    that of the camera's level frame (`CameraModel.level`), in which angles are measured.

    In the network's graph the same fields are tensors, (B, N) objects of B images, in the pixels
    and the level frames of their virtual cameras.
    """

    class_index: np.ndarray
    """(N,) int64: index into the model's class names."""
    score: np.ndarray
    """(N,): peak_score * confidence."""
    peak_score: np.ndarray
    """(N,): probability of the heatmap peak."""
    confidence: np.ndarray
    """(N,): expected 3D IoU, both boxes at twice their size (published weights: plain IoU)."""
    depth_error: np.ndarray
    """(N,): expected relative error of the depth."""
    box2d: np.ndarray
    """(N, 4): x0, y0, x1, y1 of the predicted 2D box, clipped to the image. Weights without the
    heads `wh` and `reg` give the extent of the eight projected corners."""
    keypoints: np.ndarray
    """(N, 9, 2): projected corners 0..7 and the centre (8); may lie outside the image."""
    size: np.ndarray
    """(N, 3): length, width, height."""
    center: np.ndarray
    """(N, 3): the geometric centre of the box."""
    yaw: np.ndarray
    """(N,): rotation about the y axis of the level frame, KITTI's rotation_y."""
    alpha: np.ndarray
    """(N,): observation angle in the level frame."""
    covariance: np.ndarray
    """(N, 4, 4): of x, y, z in the camera's frame, and yaw."""
    reprojection_error: np.ndarray
    """(N,): root mean square distance of predicted and reprojected keypoints, in pixels as they
    are at the principal point."""

    def __len__(self) -> int:
        return self.score.shape[0]

    def __getitem__(self, index) -> Detections:
        """The same table with the rows that a slice, an index array or a mask selects."""
        return Detections(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def from_columns(count: int, **given: Any) -> Detections:
    """N objects from the numbers of some fields, in any form; the other fields are zero."""
    arrays = {}
    for item in fields(Detections):
        shape = (count, *SHAPES.get(item.name, ()))
        kind = np.int64 if item.name == "class_index" else np.float32
        arrays[item.name] = np.array(given.get(item.name, np.zeros(shape)), kind).reshape(shape)
    return Detections(**arrays)


@cache
def columns() -> dict[str, slice]:
    """The columns of each field of `Detections` in the table."""
    where, end = {}, 0
    for field in fields(Detections):
        start, end = end, end + math.prod(SHAPES.get(field.name, ()))
        where[field.name] = slice(start, end)
    return where


def unpack(table: np.ndarray) -> Detections:
    """The fields of a table (..., columns); views of it, except the class index (int64)."""
    values = {
        name: table[..., part].reshape(*table.shape[:-1], *SHAPES[name])
        if name in SHAPES
        else table[..., part.start]
        for name, part in columns().items()
    }
    return Detections(**values | {"class_index": values["class_index"].astype(np.int64)})


def in_camera(found: Detections, view: VirtualCamera) -> Detections:
    """Transform objects of a virtual camera into the pixels and the frame of the real camera."""
    level = view.camera.level
    turn = np.eye(4)
    turn[:3, :3] = level.T
    changed = {
        "box2d": view.boxes_to_camera(found.box2d),
        "keypoints": view.to_camera(found.keypoints),
        "center": found.center @ level,
        "covariance": turn @ found.covariance @ turn.T,
        "reprojection_error": found.reprojection_error / view.scale,
    }
    return replace(found, **{name: array.astype(np.float32) for name, array in changed.items()})
