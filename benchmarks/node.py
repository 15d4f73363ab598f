"""The node in a separate process, over DDS: `python benchmarks/node.py --seconds 300`.

Publishes 1280x384 frames at a fixed rate. Reports the number of answers, the time of each stage,
and the processor time and memory growth of the node's process. With `--rate 100 --threads 1`
frames arrive faster than one core can answer. The limits, on two CPU cores with the embedded
weights at 10 Hz: no drop; 5 ms of node overhead (everything but preprocess, network and decode)
in the median; 20 MB of memory growth after the first minute; 2 ms to build the messages of 50
objects; no growth of the memory that is left after a cleanup. With `--threads 1` it uses at most
1.1 cores. On a CPU with OpenVINO: 300 MB of memory, and 1.5 s from its start until it subscribes;
`--backend torch` gives both with PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from km3d_ros.msg import FrameTiming, KeypointDetectionArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.node.compatibility import ON_THIS_MACHINE
from km3d_ros.node.markers import marker_array
from km3d_ros.node.messages import detection_array, keypoint_array

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **ON_THIS_MACHINE,
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
    "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config/fastdds_shm.xml"),  # Fast DDS 3
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "config/fastdds_shm.xml"),  # Fast DDS 2
}

WIDTH, HEIGHT, FOCAL = 1280, 384, 720.0
PROJECTION = [FOCAL, 0, WIDTH / 2, 0, 0, FOCAL, HEIGHT / 2, 0, 0, 0, 1, 0]
CLASSES = ("Car", "Pedestrian", "Cyclist")
OBJECTS = 50
STAGES = ("wait", "preprocess", "network", "decode", "publish", "total")
GROWTH_FROM = 60.0
PATIENCE = 60.0
"""Longest wait for the first answer in seconds."""
RETRY = 5.0
"""Seconds after which a response counts as lost."""
CYCLE = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
)


class Camera(Node):
    """Publishes noise at a fixed rate and stores the timings from the node."""

    def __init__(self, rate: float, watched: bool) -> None:
        """`watched`: also subscribe to the topics for viewers."""
        super().__init__("camera")
        self.sent = 0
        self.timings: list[FrameTiming] = []
        self.backend = ""
        self._infos = self.create_publisher(CameraInfo, "camera_info", 1)
        self._images = self.create_publisher(Image, "image", 1)
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        self._image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH)
        self._image.data = array("B", noise.tobytes())
        self._info = CameraInfo(height=HEIGHT, width=WIDTH, p=np.array(PROJECTION, np.float64))
        self.create_subscription(FrameTiming, "/km3d/timing", self.timings.append, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._report, 10)
        topics = [(Detection3DArray, "/km3d/detections")]
        if watched:
            topics += [(KeypointDetectionArray, "/km3d/objects"), (MarkerArray, "/km3d/markers")]
        for message_type, topic in topics:
            self.create_subscription(message_type, topic, lambda message: None, 10)
        self.create_timer(1 / rate, self._send)

    @property
    def heard(self) -> bool:
        """Whether the node subscribes to both topics."""
        publishers = (self._infos, self._images)
        return all(publisher.get_subscription_count() for publisher in publishers)

    def _report(self, message: DiagnosticArray) -> None:
        said = {pair.key: pair.value for status in message.status for pair in status.values}
        self.backend = said.get("backend", self.backend)

    def _send(self) -> None:
        if not self.heard:
            return
        self.sent += 1
        for publisher, message in ((self._infos, self._info), (self._images, self._image)):
            message.header.stamp.sec = self.sent
            publisher.publish(message)


def drive(options: argparse.Namespace) -> dict[str, object]:
    """Run the node for some time; returns frame counts, milliseconds by stage, and memory."""
    values = [f"score_threshold:={options.score_threshold}", f"max_detections:={OBJECTS}"]
    values += [f"threads:={options.threads}", f"backend:={options.backend}"]
    launched = time.monotonic()
    node = launch(options.weights, *values)
    rclpy.init()
    camera = Camera(options.rate, options.watched)
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    resident: list[tuple[float, float]] = []
    try:
        while not camera.heard and node.poll() is None:
            executor.spin_once(timeout_sec=0.1)
        begin = time.monotonic()
        active = begin - launched
        while not camera.timings and node.poll() is None and time.monotonic() < begin + PATIENCE:
            executor.spin_once(timeout_sec=0.1)
        if not camera.timings:
            sys.exit(f"the node answered none of {camera.sent} frames")
        start, used, answered = time.monotonic(), processor_seconds(node), len(camera.timings)
        while node.poll() is None and (elapsed := time.monotonic() - start) < options.seconds:
            executor.spin_once(timeout_sec=0.1)
            resident.append((elapsed, megabytes(node)))
        used = processor_seconds(node) - used
        answered = len(camera.timings) - answered
        spent = {"per_frame": round(used / answered, 4), "per_second": round(used / elapsed, 2)}
    finally:
        node.send_signal(signal.SIGINT)
        code = node.wait()
        executor.shutdown()
        rclpy.shutdown()
    if code != 0:
        sys.exit(f"the node exited with code {code}")
    figures = {"backend": camera.backend} | frames(camera) | stages(camera.timings)
    figures["seconds_until_active"] = round(active, 2)
    return figures | {"processor_seconds": spent, "memory_mb": growth(resident)}


def launch(weights: str, *values: str) -> subprocess.Popen:
    """The node with these weights and parameter values."""
    values = [*values, "rectified:=true", f"weights:='{weights}'"]
    arguments = [text for value in values for text in ("-p", value)]
    command = [sys.executable, "-m", "km3d_ros.node", "--ros-args", *arguments]
    return subprocess.Popen(command, cwd=ROOT)


def left_after_cleanup(weights: str, cycles: int) -> list[float]:
    """Megabytes of an unconfigured node: at first, and after every life cycle."""
    node = launch(weights, "autostart:=false")
    rclpy.init()
    user = Node("user")
    client = user.create_client(ChangeState, "/km3d/change_state")
    client.wait_for_service()
    resident = [megabytes(node)]
    for _ in range(cycles):
        for step in CYCLE:
            ask(user, client, ChangeState.Request(transition=Transition(id=step)))
        resident.append(megabytes(node))
    node.send_signal(signal.SIGINT)
    node.wait()
    rclpy.shutdown()
    return [round(size, 1) for size in resident]


def ask(user: Node, client: Client, request: ChangeState.Request) -> None:
    """Wait for the response; one that is sent before the node has found this client is lost."""
    answered = False
    while not answered:
        future = client.call_async(request)
        rclpy.spin_until_future_complete(user, future, timeout_sec=RETRY)
        answered = future.done()


def processor_seconds(process: subprocess.Popen) -> float:
    """Processor time of all threads of a running process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: subprocess.Popen) -> float:
    """Resident memory of a running process."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def frames(camera: Camera) -> dict[str, object]:
    """The outcomes of the frames, from the node's diagnostics."""
    drops: dict[str, int] = {}
    for timing in camera.timings:
        for cause, count in zip(timing.drop_causes, timing.drop_counts, strict=True):
            drops[cause] = drops.get(cause, 0) + count
    return {"sent": camera.sent, "answered": len(camera.timings), "dropped": drops}


def stages(timings: list[FrameTiming]) -> dict[str, object]:
    """p50, p95 and p99 in milliseconds of every stage and of the node's overhead."""
    table = {name: np.array([getattr(t, name) for t in timings]) for name in STAGES}
    inference = table["preprocess"] + table["network"] + table["decode"]
    table["overhead"] = table["total"] - inference
    percentiles = {
        name: {f"p{p}": round(1e3 * float(np.percentile(values, p)), 2) for p in (50, 95, 99)}
        for name, values in table.items()
    }
    return {"milliseconds": percentiles}


def growth(resident: list[tuple[float, float]]) -> dict[str, float]:
    """Memory at the end, and how much of it came after the first minute (or half of the time)."""
    settled = min(GROWTH_FROM, resident[-1][0] / 2)
    start = next(size for elapsed, size in resident if elapsed >= settled)
    end = resident[-1][1]
    return {"end": round(end, 1), f"growth_after_{settled:.0f}_s": round(end - start, 1)}


def building() -> dict[str, float]:
    """Milliseconds (median) to build the messages of one frame with 50 objects."""
    camera = CameraModel.from_projection(np.reshape(PROJECTION, (3, 4)), WIDTH, HEIGHT)
    found, header, pool = some_objects(), Header(frame_id="camera"), []
    builders: dict[str, Callable[[], object]] = {
        "detections": lambda: detection_array(found, CLASSES, camera, header, pool),
        "objects": lambda: keypoint_array(found, CLASSES, camera, header),
        "markers": lambda: marker_array(found, CLASSES, camera, header, 0.5),
    }
    return {name: round(median_milliseconds(build), 2) for name, build in builders.items()}


def some_objects() -> Detections:
    """Fifty objects with pseudo-random numbers."""

    def values(*shape: int) -> np.ndarray:
        return rng.random((OBJECTS, *shape), np.float32)

    rng = np.random.default_rng(0)
    return Detections(
        class_index=np.arange(OBJECTS) % len(CLASSES),
        **{name: values() for name in ("score", "peak_score", "confidence", "depth_error")},
        **{name: values() for name in ("yaw", "alpha", "reprojection_error")},
        **{name: values(3) for name in ("size", "center")},
        box2d=values(4),
        keypoints=values(9, 2),
        covariance=values(4, 4),
    )


def median_milliseconds(function: Callable[[], object], repetitions: int = 200) -> float:
    """The median of many calls."""
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to publish")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second")
    parser.add_argument("--threads", type=int, default=0, help="of the node; 0: all cores")
    parser.add_argument("--backend", default="auto", help="of the node: auto, openvino or torch")
    parser.add_argument("--weights", default="", help="weights file; empty: the embedded ones")
    parser.add_argument("--score-threshold", type=float, default=0.0, help="0: always 50 objects")
    parser.add_argument("--cycles", type=int, default=8, help="configure to cleanup, at the end")
    parser.add_argument("--watched", action="store_true", help="subscribe to markers and objects")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    figures = drive(options)
    figures["building_milliseconds"] = building()
    figures["unconfigured_mb"] = left_after_cleanup(options.weights, options.cycles)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
