"""The installed executable km3d_tracker, as a user starts and stops it."""

import signal
from itertools import count
from pathlib import Path

import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Header
from support.waiting import spin_until
from vision_msgs.msg import Detection3DArray

from km3d_ros.node.tracker_parameters import PARAMETERS

CONFIG = Path(__file__).parents[2] / "config" / "km3d_tracker.yaml"


@pytest.fixture
def peer():
    """Another node."""
    rclpy.init()
    node = Node("peer")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_executable_with_its_parameter_file_answers_over_dds_and_stops_cleanly(
    peer, executable, stop
):
    node, executor = peer
    received = []
    node.create_subscription(Detection3DArray, "/km3d_tracker/tracks", received.append, 10)
    publisher = node.create_publisher(Detection3DArray, "/front/detections", 10)
    process = executable(
        "km3d_tracker",
        *("--ros-args", "--params-file", CONFIG, "-p", "inputs:=[/front/detections]"),
    )
    sent = count(100)

    def answered() -> bool:
        header = Header(frame_id="front", stamp=Time(sec=next(sent)))
        publisher.publish(Detection3DArray(header=header))
        return bool(received)

    spin_until(executor, answered)
    assert received[0].header.frame_id == "front"
    process.send_signal(stop)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0, words
    assert "Traceback" not in words


def test_help_lists_every_parameter(executable):
    words, _ = executable("km3d_tracker", "--help").communicate(timeout=60)
    assert [rule.name for rule in PARAMETERS if f"\n  {rule.name} (" not in words] == []


def test_arguments_that_are_not_of_ros_are_refused(executable):
    process = executable("km3d_tracker", "front")
    _, words = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words.startswith("km3d_tracker: unknown arguments: front")
