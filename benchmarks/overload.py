"""The age of answers under overload: `python benchmarks/overload.py --seconds 600`.

A separate process publishes 1280x384 frames at 1, 3 and 10 times the rate that the node can
answer. The limits: the 99th percentile of the age of answers is at most one frame interval plus
the work on one frame (image to published detections, its 99th percentile in the same run); every
frame is answered or counted as dropped; memory grows by at most 20 MB.

The node measures the age: from the arrival of an image to its published detections. `latency` also
includes DDS: from the publication of an image to the arrival of its detections in this process.
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
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from km3d_ros.msg import FrameTiming
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray

from km3d_ros.node.compatibility import ON_THIS_MACHINE

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "overload.json"
ENVIRONMENT = {
    **ON_THIS_MACHINE,
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
    "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config/fastdds_shm.xml"),  # Fast DDS 3
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "config/fastdds_shm.xml"),  # Fast DDS 2
}
WIDTH, HEIGHT, FOCAL = 1280, 384, 720.0
PROJECTION = [FOCAL, 0, WIDTH / 2, 0, 0, FOCAL, HEIGHT / 2, 0, 0, 0, 1, 0]
LOADS = (1, 3, 10)
SLOW = 2.0
"""Frames per second that the node certainly can answer."""
WARM_UP, TAIL = 20, 4
"""Frames at the slow rate before the load, to find the node's own rate, and after it."""
REPORTED = 3.0
"""Seconds after which the node's report includes all earlier frames."""


class Camera:
    """Publishes noise on the topics of one camera, in a separate process."""

    def __init__(self, name: str = "") -> None:
        context = get_context("spawn")
        self._end, theirs = context.Pipe()
        self._process = context.Process(target=_publish, args=(theirs, name), daemon=True)
        self._process.start()

    def send(self, rate: float, seconds: float) -> None:
        """Start to publish at a rate for some time."""
        self._end.send((rate, seconds))

    def sent(self) -> list[int]:
        """Wait for its end; returns the stamps in nanoseconds of the steady clock."""
        return self._end.recv()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _publish(end: Connection, name: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init()
    node = Node(f"camera_{name}")
    prefix = f"{name}/" if name else ""
    infos = node.create_publisher(CameraInfo, f"{prefix}camera_info", 1)
    images = node.create_publisher(Image, f"{prefix}image", 1)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH)
    image.data = array("B", noise.tobytes())
    info = CameraInfo(height=HEIGHT, width=WIDTH, p=np.array(PROJECTION, np.float64))
    while not (infos.get_subscription_count() and images.get_subscription_count()):
        time.sleep(0.05)
    while True:
        rate, seconds = end.recv()
        begin, stamps = time.monotonic(), []
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            stamps.append(time.monotonic_ns())
            for publisher, message in ((infos, info), (images, image)):
                stamp = message.header.stamp
                stamp.sec, stamp.nanosec = divmod(stamps[-1], 10**9)
                publisher.publish(message)
        end.send(stamps)


class Detector:
    """The node in a process of its own, and what it publishes, by camera; a context manager.

    timings, latencies: seconds by which an answer arrived here after its image was published.
    reports: the newest values of the diagnostics.
    resident: times and megabytes of memory.
    """

    def __init__(self, cameras: Sequence[str] = ("",), values: Sequence[str] = ()) -> None:
        values = ["rectified:=true", *values]
        if cameras != ("",):
            values = [*values, f"cameras:=[{','.join(cameras)}]"]
        arguments = [text for value in values for text in ("-p", value)]
        command = [sys.executable, "-m", "km3d_ros.node", "--ros-args", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT)
        self._node = Node(f"observer_{self._process.pid}")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self.timings: dict[str, list[FrameTiming]] = {name: [] for name in cameras}
        self.latencies: dict[str, list[float]] = {name: [] for name in cameras}
        self.reports: dict[str, dict[str, str]] = {}
        self.resident: list[tuple[float, float]] = []
        for name in cameras:
            prefix = f"/km3d/{name}" if name else "/km3d"
            self._listen(FrameTiming, f"{prefix}/timing", self.timings[name].append)
            self._listen(Detection3DArray, f"{prefix}/detections", partial(self._take, name))
        self._listen(DiagnosticArray, "/diagnostics", self._report)

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._executor.shutdown()

    def spin(self, seconds: float) -> None:
        """Spin for some time."""
        begin = time.monotonic()
        while (now := time.monotonic()) - begin < seconds:
            if self._process.poll() is not None:
                sys.exit(f"the node exited with code {self._process.returncode}")
            self._executor.spin_once(timeout_sec=0.1)
            if not self.resident or now - self.resident[-1][0] > 1:
                self.resident.append((now, self._megabytes()))

    def forget(self) -> None:
        """Discard what was received so far."""
        for values in (*self.timings.values(), *self.latencies.values(), self.resident):
            values.clear()

    def _listen(self, message_type: type, topic: str, callback: Callable) -> None:
        self._node.create_subscription(message_type, topic, callback, 100)

    def _take(self, name: str, message: Detection3DArray) -> None:
        sent = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        self.latencies[name].append(time.monotonic() - sent)

    def _report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.partition(": ")[2].removeprefix("detector")
            self.reports[name] = {pair.key: pair.value for pair in status.values}

    def _megabytes(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def work(timing: FrameTiming) -> float:
    """Seconds from the start of the work on a frame to its published detections."""
    return timing.total - timing.wait


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile in milliseconds."""
    return round(1e3 * float(np.percentile(values, percent)), 1)


def overload(load: float, seconds: float) -> dict[str, object]:
    """The figures of one load, with a new node."""
    camera = Camera()
    try:
        with Detector(values=["score_threshold:=0.0", "max_detections:=50"]) as detector:
            timings = detector.timings[""]
            while len(timings) < WARM_UP // 2:  # DDS may lose the first ones
                camera.send(SLOW, WARM_UP / SLOW)
                detector.spin(WARM_UP / SLOW + REPORTED)
                camera.sent()
            rate = 1 / np.median([work(timing) for timing in timings])
            before = detector.reports[""]
            detector.forget()
            camera.send(load * rate, seconds)
            detector.spin(seconds + REPORTED)
            stamps = camera.sent()
            loaded, latencies, resident = (
                list(values) for values in (timings, detector.latencies[""], detector.resident)
            )
            # The gap before them tells the node of the last ones that it missed.
            camera.send(SLOW, TAIL / SLOW)
            detector.spin(TAIL / SLOW + REPORTED)
            stamps += camera.sent()
            return {
                "load": load,
                "rate_hz": round(load * rate, 1),
                "age_ms": {f"p{p}": percentile([t.total for t in loaded], p) for p in (50, 99)},
                "bound_ms": round(
                    1e3 / (load * rate) + percentile([work(t) for t in loaded], 99), 1
                ),
                "latency_ms": {f"p{p}": percentile(latencies, p) for p in (50, 99)},
                "frames": account(len(stamps), before, detector.reports[""]),
                "memory_growth_mb": growth(resident),
            }
    finally:
        camera.close()


def account(sent: int, before: dict[str, str], after: dict[str, str]) -> dict[str, object]:
    """Outcomes of the frames between two reports; the node never received those `uncounted`."""
    counts = {key: int(after[key]) - int(before[key]) for key in after if counted(key)}
    answered = counts.pop("answered")
    dropped = {key.removeprefix("dropped."): count for key, count in counts.items() if count}
    uncounted = sent - answered - sum(dropped.values())
    return {"sent": sent, "answered": answered, "dropped": dropped, "uncounted": uncounted}


def counted(key: str) -> bool:
    """Whether a value of the diagnostics counts frames."""
    return key == "answered" or key.startswith("dropped.")


def growth(resident: Sequence[tuple[float, float]]) -> float:
    """Growth from the end of the first tenth to the end."""
    return round(resident[-1][1] - resident[len(resident) // 10][1], 1)


def row(figures: dict) -> str:
    """A line of the table."""
    frames = figures["frames"]
    return (
        f"| {figures['load']}× | {figures['rate_hz']} | {figures['age_ms']['p50']} | "
        f"{figures['age_ms']['p99']} | {figures['bound_ms']} | {figures['latency_ms']['p99']} | "
        f"{frames['sent']} | {frames['answered']} | {sum(frames['dropped'].values())} | "
        f"{frames['uncounted']} | {figures['memory_growth_mb']:+} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="per load (default: 20)")
    parser.add_argument("--save", action="store_true", help=f"into {RESULTS.name}")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    rclpy.init()
    print(
        "| load | Hz | age p50, ms | age p99 | bound | latency p99 | sent | answered | dropped | "
        "uncounted | memory, MB |\n" + "|---" * 11 + "|"
    )
    records = []
    for load in LOADS:
        records.append(overload(load, options.seconds))
        print(row(records[-1]), flush=True)
    if options.save:
        RESULTS.write_text(json.dumps(records, indent=1) + "\n")
    rclpy.shutdown()


if __name__ == "__main__":
    main()
