"""Detections to draw, and the camera that they are in front of."""

import math

import torch

from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections

CLASSES = ("Car", "Pedestrian", "Cyclist")
K = [[700.0, 0, 640], [0, 700.0, 192], [0, 0, 1]]
CAMERA = CameraModel.from_intrinsics(K, 1280, 384)
AWAY = -math.pi / 2


def boxes(*rows, classes=None, sigma=0.5):
    """Detections of cars at (x, y, z, yaw)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    n = len(table)
    center, yaw, size = table[:, :3], table[:, 3], torch.tensor([[4.0, 1.6, 1.5]]).repeat(n, 1)
    points = CAMERA.project(keypoints(Boxes3D(center, size, yaw)).double()).float()
    limits = torch.tensor([1279.0, 383.0])
    low, high = (points[:, :8].amin(1), points[:, :8].amax(1))
    box2d = torch.cat([low.clamp(min=0).minimum(limits), high.clamp(min=0).minimum(limits)], 1)
    ones = torch.ones(n)
    return Detections(
        class_index=torch.tensor(classes or [0] * n, dtype=torch.int64),
        score=ones * 0.5,
        peak_score=ones,
        confidence=ones * 0.5,
        depth_error=ones * 0.04,
        box2d=box2d,
        keypoints=points,
        size=size,
        center=center,
        yaw=yaw,
        alpha=yaw,
        covariance=torch.eye(4).repeat(n, 1, 1) * sigma**2,
        reprojection_error=ones,
    )
