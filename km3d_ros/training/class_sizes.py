"""Typical sizes of the objects of each class. The head `dim` is coded relative to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError

Sides = tuple[float, float, float]


class Size(NamedTuple):
    """Height, width and length: means in metres, and relative standard deviations."""

    mean: Sides
    spread: Sides


KITTI_SIZES = {
    "Car": Size((1.53, 1.63, 3.88), (0.09, 0.065, 0.115)),
    "Pedestrian": Size((1.76, 0.66, 0.84), (0.065, 0.2, 0.27)),
    "Cyclist": Size((1.74, 0.60, 1.76), (0.055, 0.2, 0.10)),
}
"""Sizes in KITTI, the default classes."""
ENOUGH = 20
"""Least number of objects from which a size is measured if KITTI has the class."""
LEAST_SPREAD = 0.05
"""Least relative spread. Few objects, or equal ones, would give less."""


def measured_sizes(objects: Iterable[KittiObject], classes: Sequence[str]) -> dict[str, Size]:
    """The size of every class, from its labelled 3D boxes.

    A class with fewer than `ENOUGH` objects has KITTI's size, if KITTI has the class.

    Raises:
        InputError: a class without 3D boxes that KITTI does not have.
    """
    sides: dict[str, list[Sides]] = {name: [] for name in classes}
    for item in objects:
        if item.class_name in sides and item.has_box3d:
            length, width, height = item.size
            sides[item.class_name].append((height, width, length))
    return {name: _measured(name, found) for name, found in sides.items()}


def _measured(name: str, sides: list[Sides]) -> Size:
    if len(sides) < ENOUGH and name in KITTI_SIZES:
        return KITTI_SIZES[name]
    if not sides:
        raise InputError(
            f"no {name} with a 3D box among the labels: its size cannot be measured; expected "
            "classes that are labelled"
        )
    logarithms = np.log(sides)
    mean = np.exp(logarithms.mean(axis=0))
    spread = np.maximum(logarithms.std(axis=0), LEAST_SPREAD)
    return Size(*(tuple(round(side, 3) for side in sides.tolist()) for sides in (mean, spread)))
