"""The generated message types, as installed by the build."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_path
from km3d_ros.msg import KeypointDetection, KeypointDetectionArray
from rclpy.serialization import deserialize_message, serialize_message

PUBLISHED_HASHES = json.loads(Path(__file__).with_name("vision_msgs_type_hashes.json").read_text())


def installed_hash(package: str, name: str) -> str:
    share = get_package_share_path(package)
    description = json.loads((share / "msg" / f"{name}.json").read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    return hashes[f"{package}/msg/{name}"]


@pytest.mark.skipif(os.environ.get("ROS_DISTRO") == "humble", reason="Humble hashes no types")
def test_vision_msgs_has_the_type_hashes_of_the_published_package():
    installed = {name: installed_hash("vision_msgs", name) for name in PUBLISHED_HASHES}
    assert installed == PUBLISHED_HASHES


@pytest.mark.skipif(os.environ.get("ROS_DISTRO") == "humble", reason="Humble hashes no types")
def test_tf_message_has_the_type_hash_of_the_published_package():
    published = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
    assert installed_hash("tf2_msgs", "TFMessage") == published


def test_objects_survive_serialization_with_their_float32_values():
    sent = KeypointDetectionArray(k=np.arange(9.0), objects=[KeypointDetection(class_id="Car")])
    sent.header.frame_id = "camera"
    sent.objects[0].keypoints = np.linspace(-20, 1300, 18, dtype=np.float32)
    sent.objects[0].box2d = np.float32([0.5, 1.5, 2.5, 3.5])
    received = deserialize_message(serialize_message(sent), KeypointDetectionArray)
    assert received == sent
    assert received.objects[0].keypoints[-1] == 1300
