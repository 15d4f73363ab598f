"""Named tensors of objects as one table of numbers, and back.

A table crosses from device to host in one copy, and it is what an exported graph gives.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from km3d_ros.inference.decode import Objects
from km3d_ros.inference.detections import Detections

SHAPES: dict[str, tuple[int, ...]] = {
    "keypoints": (9, 2),
    "size": (3,),
    "box2d": (4,),
    "center": (3,),
    "covariance": (4, 4),
}
"""Shapes, per object, of the fields that are not one number."""

Rows = TypeVar("Rows", Objects, Detections)


@cache
def columns(kind: type[Rows]) -> dict[str, slice]:
    """Where each field of `Objects` or `Detections` is in a row of its table."""
    names = [field.name for field in fields(kind)]
    widths = [math.prod(SHAPES.get(name, ())) for name in names]
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return {
        name: slice(end - width, end) for name, width, end in zip(names, widths, ends, strict=True)
    }


def pack(rows: Rows) -> Tensor:
    """(..., columns) float32, the fields one after the other in their order."""
    parts = []
    for field in fields(rows):
        value = getattr(rows, field.name).float()
        shape = SHAPES.get(field.name, ())
        parts.append(value.flatten(-len(shape)) if shape else value[..., None])
    return torch.cat(parts, dim=-1)


def unpack(kind: type[Rows], table: Tensor) -> Rows:
    """The inverse of `pack`; every field is a view of the table but the class index, int64."""
    values = {
        name: table[..., part].unflatten(-1, SHAPES[name])
        if name in SHAPES
        else table[..., part.start]
        for name, part in columns(kind).items()
    }
    return kind(**values | {"class_index": values["class_index"].long()})
