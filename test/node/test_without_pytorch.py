"""The node on a machine where OpenVINO is installed, but no PyTorch, safetensors or onnx."""

import subprocess
import sys

import pytest

ABSENT = ("torch", "safetensors", "onnx")

IMPORTING = """
import km3d_ros.node.__main__, km3d_ros.node.detector_node
"""

RUNNING = """
import numpy as np
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.node.detector_node import DetectorNode

rclpy.init()
node = DetectorNode(parameter_overrides=[Parameter("autostart", value=False)])
assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
detector = node._detector
assert detector.choice.backend.name == "openvino"
lens = CameraModel.from_intrinsics(
    [[300, 0, 320], [0, 300, 240], [0, 0, 1]], 640, 480, [0.0] * 4, "equidistant"
)
found = detector(np.zeros((480, 640, 3), np.uint8), lens)
assert found.center.dtype == np.float32
node.trigger_deactivate()
node.trigger_cleanup()
node.destroy_node()
rclpy.shutdown()
"""


@pytest.mark.parametrize("script", [IMPORTING, RUNNING], ids=["imported", "active"])
def test_node_imports_no_pytorch(script):
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT}))\n"
    left = f"assert not [name for name in {ABSENT} if sys.modules.get(name)]\n"
    subprocess.run([sys.executable, "-c", hidden + script + left], check=True, timeout=120)


@pytest.mark.parametrize("script", [IMPORTING, RUNNING], ids=["imported", "active"])
def test_node_leaves_pytorch_alone_where_it_is_installed(script):
    left = f"import sys\nassert not [name for name in {ABSENT} if name in sys.modules]\n"
    subprocess.run([sys.executable, "-c", script + left], check=True, timeout=120)
