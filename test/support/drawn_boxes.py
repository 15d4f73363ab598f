"""Detections to draw, and the camera that they are in front of."""

import math

import numpy as np

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.inference.detections import Detections

CLASSES = ("Car", "Pedestrian", "Cyclist")
K = [[700.0, 0, 640], [0, 700.0, 192], [0, 0, 1]]
CAMERA = CameraModel.from_intrinsics(K, 1280, 384)
AWAY = -math.pi / 2


def boxes(*rows, classes=None, sigma=0.5):
    """Detections of cars at (x, y, z, yaw)."""
    table = np.array(rows, np.float32).reshape(-1, 4)
    n = len(table)
    center, yaw, size = table[:, :3], table[:, 3], np.tile(np.float32([4.0, 1.6, 1.5]), (n, 1))
    corners = center[:, None] + corner_offsets(size, yaw, CAMERA.level)
    points = CAMERA.project(np.concatenate([corners, center[:, None]], axis=1))
    low, high = points[:, :8].min(1), points[:, :8].max(1)
    box2d = np.clip(np.concatenate([low, high], axis=1), 0, [1279, 383, 1279, 383])
    ones = np.ones(n, np.float32)
    return Detections(
        class_index=np.array(classes or [0] * n, np.int64),
        score=ones * 0.5,
        peak_score=ones,
        confidence=ones * 0.5,
        depth_error=ones * 0.04,
        box2d=box2d.astype(np.float32),
        keypoints=points.astype(np.float32),
        size=size,
        center=center,
        yaw=yaw,
        alpha=yaw,
        covariance=np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)) * sigma**2,
        reprojection_error=ones,
    )
