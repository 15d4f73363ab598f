"""A real node, real topics, and a checkpoint with pseudo-random weights."""

import time
from array import array
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.node.detector_node import DetectorNode

WIDTH, HEIGHT = 160, 96
PATIENCE = 60.0
RETRY = 5.0


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
        """Serve callbacks until the condition holds; fail if it does not within PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing happened in time"
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, service_type: type, name: str, request):
        """Call a service; returns its response.

        A response that is sent before the server's side has found the client is lost: ask again.
        """
        client = self.peer.create_client(service_type, name)
        self.spin_until(client.service_is_ready)
        futures = []

        def answered() -> bool:
            if time.monotonic() > len(futures) * RETRY + start:
                futures.append(client.call_async(request))
            return any(future.done() for future in futures)

        start = time.monotonic()
        self.spin_until(answered)
        self.peer.destroy_client(client)
        return next(future.result() for future in futures if future.done())

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


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> str:
    """A checkpoint with pseudo-random weights, for small images."""
    torch.manual_seed(0)
    sizes = {"dimension_mean": ((1.5, 1.6, 3.9),) * 3, "dimension_spread": ((0.1,) * 3,) * 3}
    spec = ModelSpec("lite", input_size=(HEIGHT, WIDTH), **sizes)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    checkpoint.save(path, KM3DNet(spec), spec)
    return str(path)


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """A participant of its own: an old one tells every new process of all that it ever had."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def bench(ros, weights) -> Iterator[Bench]:
    bench = Bench(weights)
    yield bench
    bench.close()
