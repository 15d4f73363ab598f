import numpy as np
import pytest
import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

SPEC = ModelSpec(
    "lite",
    input_size=(64, 160),
    dimension_mean=((1.5, 1.6, 3.9),) * 3,
    dimension_spread=((0.1, 0.1, 0.1),) * 3,
)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A checkpoint of a small network that nobody trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    checkpoint.save(path, KM3DNet(SPEC), SPEC)
    return path


@pytest.fixture
def detector(weights):
    return Detector.from_checkpoint(weights, device="cpu", score_threshold=0, max_detections=20)


@pytest.fixture
def camera():
    return CameraModel.from_intrinsics([[90, 0, 74], [0, 90, 29], [0, 0, 1]], 150, 60)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 150, 3), dtype=np.uint8)
