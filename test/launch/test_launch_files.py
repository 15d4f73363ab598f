"""The launch files, started by `ros2 launch` where that is installed, and what comes up."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vision_msgs.msg import Detection3DArray

import km3d_ros
from km3d_ros.demo.drive import FRAME_ID

pytest.importorskip("ros2launch")

LAUNCH = Path(km3d_ros.__file__).parents[1] / "launch"
PATIENCE = 60.0


class Peer:
    """Another node that watches what a launch file starts."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing happened in time"
            self._executor.spin_once(timeout_sec=0.1)

    def call(self, service_type: type, name: str, request):
        client = self.node.create_client(service_type, name)
        self.wait_until(client.service_is_ready)
        future = client.call_async(request)
        self.wait_until(future.done)
        return future.result()


@pytest.fixture
def peer() -> Iterator[Peer]:
    context = rclpy.Context()
    context.init()
    node = Node("peer", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield Peer(node, executor)
    node.destroy_node()
    context.shutdown()


@contextmanager
def launched(file: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """`ros2 launch` with these arguments, in the end stopped as Ctrl-C does."""
    command = [shutil.which("ros2"), "launch", LAUNCH / file, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        print(output.decode())


def test_km3d_launch_starts_an_active_node_with_the_given_names(peer):
    arguments = ("namespace:=front", "image:=/cam/image_rect", "camera_info:=/cam/camera_info")
    with launched("km3d.launch.py", *arguments, "device:=cpu") as process:
        name = "/front/km3d"
        peer.wait_until(
            lambda: (
                peer.call(GetState, f"{name}/get_state", GetState.Request()).current_state.label
                == "active"
            )
        )
        for topic in ("/cam/image_rect", "/cam/camera_info"):
            peer.wait_until(lambda topic=topic: peer.node.count_subscribers(topic) == 1)
        request = GetParameters.Request(names=["device", "weights", "use_sim_time"])
        values = peer.call(GetParameters, f"{name}/get_parameters", request).values
        assert [value.string_value for value in values[:2]] == ["cpu", ""]
        assert values[2].bool_value is False
    assert process.returncode == 0


def test_demo_launch_plays_a_drive_that_the_node_answers(peer):
    answers: list[Detection3DArray] = []
    peer.node.create_subscription(Detection3DArray, "/km3d/detections", answers.append, 10)
    with launched("demo.launch.py", "frames:=3"):
        # Frames before the last one may be overtaken on a busy machine.
        peer.wait_until(lambda: answers and answers[-1].header.stamp.nanosec == 200_000_000)
    assert {answer.header.frame_id for answer in answers} == {FRAME_ID}
