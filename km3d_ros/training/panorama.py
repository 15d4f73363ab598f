"""Photographs side by side as one wide street view.

A photograph shows few near objects that fill much of its height. In the rows of a panorama objects
have the sizes that a vehicle's camera sees, and one view contains several photographs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame
from km3d_ros.data.level_view import level_view
from km3d_ros.training.box_edges import Box2D, boxes_of, seen_boxes

ROWS = (1, 2, 3, 4)
ROW_CHANCES = (0.4, 0.3, 0.2, 0.1)
"""Probability of each number of rows."""
ENLARGED = 1.5
"""Largest scale of a still relative to its row; the row then shows a part of its height."""
RESOLUTION = 2
"""Pixels of a panorama per input pixel, along each axis."""
FOCAL = 0.75
"""Assumed focal length of a panorama in widths; it affects only the consensus of two views."""
KEPT_STILLS = 1024
"""Stills that a process keeps in memory."""


class Picture(NamedTuple):
    """An image (H, W, 3) uint8 BGR, its projection (3, 4) and its boxes in pixels."""

    image: np.ndarray
    projection: np.ndarray
    boxes: list[Box2D]


def as_picture(frame: Frame) -> Picture:
    """A frame with a calibration, as the pinhole of its projection sees it."""
    image, objects = level_view(frame)
    return Picture(image, frame.projection, boxes_of(objects, *image.shape[1::-1]))


def panorama(
    first: Frame, others: Sequence[Frame], rng: np.random.Generator, input_size: tuple[int, int]
) -> Picture:
    """A picture filled with rows of stills: a frame without calibration, and random others.

    input_size: (height, width) of the network input.
    """
    height, width = (RESOLUTION * side for side in input_size)
    image = np.zeros((height, width, 3), np.uint8)
    boxes: list[Box2D] = []
    tops = np.linspace(0, height, rng.choice(ROWS, p=ROW_CHANCES) + 1).astype(int).tolist()
    frame = first
    for top, bottom in pairwise(tops):
        left = 0
        while left < width:
            tile, found = _tile(frame, (left, top, width, bottom), rng, height)
            right = min(width, left + tile.shape[1])
            image[top:bottom, left:right] = tile[:, : right - left]
            boxes += seen_boxes(found, np.eye(2, 3), (left, top, right - 1, bottom - 1))
            left = right
            frame = others[rng.integers(len(others))]
    focal, center = FOCAL * width, ((width - 1) / 2, (height - 1) / 2)
    projection = np.array([[focal, 0, center[0], 0], [0, focal, center[1], 0], [0, 0, 1, 0]])
    return Picture(image, projection, boxes)


def _tile(
    frame: Frame, room: tuple[int, int, int, int], rng: np.random.Generator, most: int
) -> tuple[np.ndarray, list[Box2D]]:
    """A still scaled to a row of a panorama, and its boxes in pixels of the panorama.

    room: left, top, right and bottom of the free part of the row. Of a wider still the left part
        is shown.
    """
    still, size = _still(frame.image_path, most)
    left, top, right, bottom = room
    count = bottom - top
    scale = count / still.shape[0] * rng.uniform(1, ENLARGED)
    shown = still[:, : math.ceil((right - left) / scale)]
    columns, height = (max(1, round(side * scale)) for side in shown.shape[1::-1])
    height = max(height, count)
    above = int(rng.integers(height - count + 1))
    tile = cv2.resize(shown, (columns, height), interpolation=cv2.INTER_AREA)
    # Pixels are areas: scaling by z moves their centres by (z - 1) / 2.
    zoom = np.array((columns, height)) / shown.shape[1::-1] * still.shape[1::-1] / size
    shift = np.array((left, top - above)) + (zoom - 1) / 2
    affine = np.column_stack((np.diag(zoom), shift))
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    boxes = seen_boxes(boxes_of(frame.objects, *size), affine, everywhere)
    return tile[above : above + count], boxes


@lru_cache(KEPT_STILLS)
def _still(path: Path, most_rows: int) -> tuple[np.ndarray, tuple[int, int]]:
    """An image, shrunk to at most `most_rows`, and its original width and height."""
    image = read_image(path)
    height, width = image.shape[:2]
    if height > most_rows:
        columns = max(1, round(width * most_rows / height))
        image = cv2.resize(image, (columns, most_rows), interpolation=cv2.INTER_AREA)
    return image, (width, height)
