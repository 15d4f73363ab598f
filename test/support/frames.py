"""Labelled frames for tests: one object, and small KITTI-format folders."""

from pathlib import Path

import cv2
import numpy as np

from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.kitti_labels import KittiObject, write_objects
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.training.initial_weights import new_spec

SPEC = new_spec("lite", (192, 640))
PROJECTION = np.array([[900.0, 0, 640, 45], [0, 880, 190, 0], [0, 0, 1, 0.003]])
CAMERA = CameraModel.from_projection(PROJECTION, 1280, 384)
VIEW = virtual_camera(CAMERA, SPEC.input_size).affine


def car(box2d=(500.0, 150.0, 620.0, 220.0), **changes) -> KittiObject:
    """A car at 20 m, with other values where they are given."""
    values = {
        "class_name": "Car",
        "truncation": 0.0,
        "occlusion": 0,
        "alpha": 0.0,
        "box2d": box2d,
        "size": (3.9, 1.6, 1.5),
        "center": (-2.0, 0.8, 20.0),
        "yaw": 0.4,
    }
    return KittiObject(**values | changes)


def car_at(left, depth, score=None, name="Car", **changes) -> KittiObject:
    """A car, or a result, at a depth, whose 2D box begins at a column."""
    values = {"class_name": name, "size": (4.0, 2.0, 1.5), "center": (0.0, 1.0, depth), "yaw": 0.0}
    values |= {"box2d": (left, 0.0, left + 100.0, 50.0), "score": score}
    return car(**values | changes)


def write_frames(root: Path, count: int) -> Path:
    """`count` frames of 256×128 pixels, each with one car; the last one without."""
    for folder in ("image_2", "label_2", "calib"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image = np.full((128, 256, 3), 90, np.uint8)
        depth = 10.0 + i
        left, top, right, bottom = (int(v) for v in (128 - 400 / depth, 50, 128 + 400 / depth, 90))
        cv2.rectangle(image, (left, top), (right, bottom), (40 * i, 200, 30), -1)
        box = tuple(float(v) for v in (left, top, right, bottom))
        item = car(box, center=(0.0, 0.6, depth), yaw=0.3 * i)
        cv2.imwrite(str(root / "image_2" / f"{i:06d}.png"), image)
        write_objects(root / "label_2" / f"{i:06d}.txt", [item] if i < count - 1 else [])
        projection = np.array([[200.0, 0, 128, 0], [0, 200, 64, 0], [0, 0, 1, 0]])
        write_calibration(root / "calib" / f"{i:06d}.txt", projection)
    return root
