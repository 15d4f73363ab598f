import numpy as np
import pytest

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector


@pytest.fixture
def detector(weights):
    return Detector.from_checkpoint(weights, "cpu", 0, max_detections=20, backend="torch")


@pytest.fixture
def camera():
    return CameraModel.from_intrinsics([[90, 0, 74], [0, 90, 29], [0, 0, 1]], 150, 60)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 150, 3), dtype=np.uint8)
