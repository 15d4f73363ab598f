"""Malformed input for a live node: `python benchmarks/fuzz.py --messages 20000`.

A node in a separate process receives images, CameraInfos and parameters that hypothesis generates
(test/support/malformed.py), and bytes that are not messages. Good frames come in between. The
limits: the node survives, every good frame is answered, every image is answered or counted by
cause, no cause is `failed`, and the memory does not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from node import ENVIRONMENT, ROOT, megabytes
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection3DArray

sys.path.insert(0, str(ROOT / "test"))
from support import malformed

from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

FRAMES, PARAMETERS, SHREDS = 8, 3, 1
BATCH = 2 * FRAMES + PARAMETERS + SHREDS
"""Messages between two good frames: images and their CameraInfos, parameters, cut images."""
PATIENCE = 20.0
PAUSE = 0.01
"""Seconds between frames, so that the node can process each before a newer one arrives."""
PAIRS = st.tuples(malformed.images(), malformed.infos()) | malformed.odd_frames()
COMPRESSED = st.tuples(malformed.compressed_images(), malformed.infos())
MODES = {
    "rectified": ({"rectified": True}, PAIRS),
    "raw": ({"rectified": False}, PAIRS),
    "compressed": ({"image_transport": "compressed"}, COMPRESSED),
}


class UnservedError(BaseException):
    """Ends a run immediately: hypothesis does not catch it."""


class Peer:
    """Sends anything to the node, and knows what came back.

    sent: images, good or not.
    answered: stamps of the answers to good frames.
    """

    def __init__(self, process: subprocess.Popen, compressed: bool) -> None:
        self._process = process
        self._node = Node(f"peer_{process.pid}")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._good = malformed.good_compressed if compressed else malformed.good_image
        self._images = self._node.create_publisher(kind, topic, 100)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", 100)
        self._client = self._node.create_client(SetParameters, "/km3d/set_parameters")
        self._counts: dict[str, str] = {}
        self._stamp = 1_000
        self.sent, self.answered = 0, set()
        self._node.create_subscription(Detection3DArray, "/km3d/detections", self._hear, 100)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._learn, 10)
        self._wait("is discovered", lambda: self._images.get_subscription_count() > 0)
        self._wait("is discovered", lambda: self._infos.get_subscription_count() > 0)
        self._wait("is discovered", lambda: self._node.count_publishers("/km3d/detections") > 0)
        self._wait("serves parameters", self._client.service_is_ready)

    def send(self, image: Image | CompressedImage | bytes, info: CameraInfo | None) -> None:
        """Publish an image, or bytes in its place, and the CameraInfo before it."""
        if info is not None:
            self._infos.publish(info)
        self._images.publish(image)
        self.sent += 1

    def shred(self, cut: int) -> None:
        """Publish only the beginning of an image."""
        self.send(bytes(serialize_message(self._good()))[:cut], None)

    def set(self, parameters: list) -> None:
        """Set parameters, one by one, and wait for the answer."""
        future = self._client.call_async(SetParameters.Request(parameters=parameters))
        self._wait("answers a request for parameters", future.done)

    def check(self) -> None:
        """Publish a good frame and wait for its answer."""
        self._stamp += 1
        image, info = self._good("good"), malformed.good_info("good")
        image.header.stamp.sec = info.header.stamp.sec = self._stamp
        self.send(image, info)
        self._wait("answers a good frame", lambda: self._stamp in self.answered)

    def account(self) -> dict[str, int]:
        """Wait until the node has counted every image; returns the counts by outcome."""
        self._wait("accounts for every image", lambda: sum(self._outcomes().values()) == self.sent)
        return {outcome: count for outcome, count in self._outcomes().items() if count}

    def close(self) -> None:
        """Destroy the ROS node."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _outcomes(self) -> dict[str, int]:
        return {
            key.removeprefix("dropped."): int(value)
            for key, value in self._counts.items()
            if key == "answered" or key.startswith("dropped.")
        }

    def _hear(self, message: Detection3DArray) -> None:
        if message.header.frame_id == "good":
            self.answered.add(message.header.stamp.sec)

    def _learn(self, message: DiagnosticArray) -> None:
        self._counts = {pair.key: pair.value for pair in message.status[0].values}

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._process.poll() is not None:
                raise UnservedError(f"the node ended with code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise UnservedError(f"{what}: not in {PATIENCE:g} s; {self._counts}")
            self._executor.spin_once(timeout_sec=0.01)


def fuzz(mode: str, batches: int, weights: Path, log: Path) -> dict[str, object]:
    """Figures of one mode, with a new node."""
    values, frames = MODES[mode]
    with open(log, "w") as output:
        process = subprocess.Popen(command(weights, **values), stderr=output)
    try:
        peer = Peer(process, "image_transport" in values)
        resident = bombard(peer, frames, batches, lambda: megabytes(process))
        outcomes = peer.account()
        peer.close()
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
    except UnservedError as error:
        sys.exit(f"{mode}: {error}; the log ends with:\n{log.read_text()[-1000:]}")
    finally:
        process.kill()
    return {
        "mode": mode,
        "messages": batches * BATCH,
        "good": len(peer.answered),
        "images": peer.sent,
        "outcomes": outcomes,
        "memory_mb": [round(resident[len(resident) // 10], 1), round(resident[-1], 1)],
        "exit_code": code,
    }


def bombard(
    peer: Peer, frames: st.SearchStrategy, batches: int, memory: Callable[[], float]
) -> list[float]:
    """Send everything; returns the node's memory after each batch."""
    resident = []

    @settings(
        max_examples=batches,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(frames, min_size=FRAMES, max_size=FRAMES),
        st.lists(malformed.parameters(), min_size=PARAMETERS, max_size=PARAMETERS),
        # At least one byte: after a message of none, Fast DDS gives a reliable reader no more.
        st.integers(1, 200),
    )
    def send(frames: list, parameters: list, cut: int) -> None:
        for image, info in frames:
            peer.send(image, info)
            time.sleep(PAUSE)
        peer.set(parameters)
        peer.shred(cut)
        peer.check()
        resident.append(memory())

    peer.check()
    send()
    return resident


def command(weights: Path, **values: object) -> list[str]:
    """The node, with reliable QoS for images and CameraInfos."""
    values |= {"weights": weights, "max_detections": 5}
    topic = "/image/compressed" if "image_transport" in values else "/image"
    for name in (topic, "/camera_info"):
        override = f"qos_overrides.{name}.subscription"
        values |= {f"{override}.reliability": "reliable", f"{override}.depth": 100}
    arguments = [text for key, value in values.items() for text in ("-p", f"{key}:={value}")]
    return [sys.executable, "-m", "km3d_ros.node", "--ros-args", *arguments]


def small_network(path: Path) -> Path:
    """A checkpoint with pseudo-random weights, for small images."""
    torch.manual_seed(0)
    sizes = {"dimension_mean": ((1.5, 1.6, 3.9),) * 3, "dimension_spread": ((0.1,) * 3,) * 3}
    spec = ModelSpec("lite", input_size=(malformed.HEIGHT, malformed.WIDTH), **sizes)
    checkpoint.save(path, KM3DNet(spec), spec)
    return path


def row(figures: dict) -> str:
    """A line of the table."""
    outcomes = ", ".join(f"{name} {count}" for name, count in figures["outcomes"].items())
    memory = " to ".join(map(str, figures["memory_mb"]))
    cells = (figures["mode"], figures["messages"], figures["images"], outcomes, memory)
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=2000, help="in all (default: 2000)")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    rclpy.init()
    batches = -(-options.messages // (BATCH * len(MODES)))
    begin, records = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        weights = small_network(Path(folder) / "small.safetensors")
        print(
            "| mode | messages | images | what became of them | memory, MB |\n" + "|---" * 5 + "|"
        )
        for mode in MODES:
            figures = fuzz(mode, batches, weights, Path(folder) / f"{mode}.log")
            records.append(figures)
            print(row(figures))
    rclpy.shutdown()
    print(json.dumps({"seconds": round(time.monotonic() - begin), "runs": records}))


if __name__ == "__main__":
    main()
