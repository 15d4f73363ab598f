"""Labelled images with their boxes on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.drawing.on_image import draw_detections
from km3d_ros.drawing.shapes import WHITE
from km3d_ros.errors import InputError
from km3d_ros.inference.detections import Detections, from_columns

COLUMNS, ROWS = 2, 6
WIDTH = 900
"""Pixels of one image on the sheet."""


def contact_sheet(frames: Sequence[Frame]) -> np.ndarray:
    """Twelve frames, spread over all of them, with their 3D boxes and, white, their 2D boxes.

    Images that cannot be read stay black.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    count = min(len(frames), COLUMNS * ROWS)
    chosen = [frames[i * len(frames) // count] for i in range(count)]
    names = sorted({item.class_name for frame in chosen for item in frame.objects})
    tiles = [_tile(frame, names) for frame in chosen]
    height = max(tile.shape[0] for tile in tiles)
    rows = -(-count // COLUMNS)
    sheet = np.zeros((rows * height, COLUMNS * WIDTH, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // COLUMNS * height, i % COLUMNS * WIDTH
        sheet[y : y + tile.shape[0], x : x + WIDTH] = tile
    return sheet


def _tile(frame: Frame, names: Sequence[str]) -> np.ndarray:
    try:
        image = read_image(frame.image_path)
    except InputError:
        return np.zeros((WIDTH // 4, WIDTH, 3), np.uint8)
    camera = frame.camera_of(image)
    solid = [item for item in frame.objects if item.has_box3d]
    picture = draw_detections(image, _as_detections(solid, names), camera, names)
    for item in frame.objects:
        x0, y0, x1, y1 = (round(float(np.clip(v, -1e5, 1e5))) for v in item.box2d)
        cv2.rectangle(picture, (x0, y0), (x1, y1), WHITE, 1)
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    return cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)


def _as_detections(objects: Sequence[KittiObject], names: Sequence[str]) -> Detections:
    """Labels as detections of score 1."""
    return from_columns(
        len(objects),
        class_index=[names.index(item.class_name) for item in objects],
        score=np.ones(len(objects)),
        box2d=[item.box2d for item in objects],
        size=[item.size for item in objects],
        center=[item.center for item in objects],
        yaw=[item.yaw for item in objects],
    )
