"""A real node, real topics, and a checkpoint with pseudo-random weights."""

import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rclpy
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from support import waiting

from km3d_ros.node.detector_node import DetectorNode

WIDTH, HEIGHT = 160, 96


class FakeClock:
    """A steady clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A peer that plays camera and user, and the node under test, spun together over DDS."""

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.executor = SingleThreadedExecutor()
        self.peer = Node("peer")
        self.executor.add_node(self.peer)
        self.images = self.peer.create_publisher(Image, "image", 10)
        self.infos = self.peer.create_publisher(CameraInfo, "camera_info", 10)
        self.clock = FakeClock()
        self.node: DetectorNode | None = None
        self._reports: list[DiagnosticArray] | None = None

    def create(self, arguments: Sequence[str] = (), **values) -> DetectorNode:
        """The node, unconfigured, with these command line arguments and parameter values.

        PyTorch is the backend: OpenVINO takes ten times as long to load.
        """
        values = {"backend": "torch"} | values
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = DetectorNode(
            cli_args=list(arguments), parameter_overrides=overrides, clock=self.clock
        )
        self.executor.add_node(self.node)
        for timer in self.node.timers:  # tests ask for reports when they want one
            timer.cancel()
        return self.node

    def start(self, **values) -> DetectorNode:
        """The node, active and discovered, with the weights that find many objects."""
        self.create(**{"weights": self.weights, "score_threshold": 0.0} | values)
        assert self.node.autostart()
        self.discover()
        return self.node

    def discover(self) -> None:
        """Wait until the camera's publishers see the node."""
        self.spin_until(lambda: self.images.get_subscription_count() == 1)
        self.spin_until(lambda: self.infos.get_subscription_count() == 1)

    def listen(self, message_type: type, topic: str) -> list:
        """The messages that arrive on one of the node's topics from now on."""
        received: list = []
        before = self.node.count_subscribers(topic)
        self.peer.create_subscription(message_type, topic, received.append, 10)
        self.spin_until(lambda: self.node.count_subscribers(topic) > before)
        self.spin_until(lambda: self.peer.count_publishers(topic) > 0)
        return received

    def spin_until(self, condition: Callable[[], bool]) -> None:
        """Serve callbacks until the condition holds; fail if it takes too long."""
        waiting.spin_until(self.executor, condition)

    def call(self, service_type: type, name: str, request):
        """Call a service; returns its response."""
        return waiting.call(self.executor, self.peer, service_type, name, request)

    def report(self) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of the diagnostics that the node publishes now."""
        if self._reports is None:
            self._reports = self.listen(DiagnosticArray, "/diagnostics")
        self._reports.clear()
        self.node.report()
        self.spin_until(lambda: self._reports)
        status = self._reports[0].status[0]
        return status.level, status.message, {pair.key: pair.value for pair in status.values}

    def close(self) -> None:
        if self.node is not None:
            self.node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()

    @staticmethod
    def image(stamp: float = 1.0, frame_id: str = "camera") -> Image:
        """WIDTH x HEIGHT pixels of noise, bgr8."""
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH)
        image.data = array("B", pixels.tobytes())
        _set_header(image, stamp, frame_id)
        return image

    @staticmethod
    def info(stamp: float = 1.0, frame_id: str = "camera", focal: float = 150.0) -> CameraInfo:
        """A camera for that image: rectified, without distortion."""
        info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        x, y = WIDTH / 2, HEIGHT / 2
        info.k = [focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0]
        info.p = [focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0]
        _set_header(info, stamp, frame_id)
        return info


def _set_header(message: Image | CameraInfo, stamp: float, frame_id: str) -> None:
    message.header.stamp.sec = int(stamp)
    message.header.stamp.nanosec = round((stamp - int(stamp)) * 1e9)
    message.header.frame_id = frame_id


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """A participant for each file: an old one sends to every new process all that it ever had."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def bench(ros, weights) -> Iterator[Bench]:
    bench = Bench(str(weights))
    yield bench
    bench.close()


@pytest.fixture
def executable() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts an installed executable: its name and arguments."""
    processes = []

    def executable(name: str, *arguments) -> subprocess.Popen:
        program = Path(get_package_prefix("km3d_ros"), "lib", "km3d_ros", name)
        pipe = subprocess.PIPE
        command = [sys.executable, program, *arguments]
        processes.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield executable
    for process in processes:
        process.kill()
        process.communicate()
