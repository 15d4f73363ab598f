"""km3d_tracker in a separate process, over DDS: `python benchmarks/tracker_node.py --seconds 600`.

Publishes odometry at 50 Hz, and the detections of three cameras at a fixed rate: together 100 cars
and pedestrians around a vehicle that drives. Reports the time of a message (from its arrival in
the node to its publication), the processor time, and the memory. The limits, on one core: 5 ms a
message in 95 % of the cases, and no growth of the memory after the first minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from km3d_ros.msg import TrackedObjectArray
from nav_msgs.msg import Odometry
from node import ENVIRONMENT, growth, megabytes, processor_seconds
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

ROOT = Path(__file__).parents[1]
CAMERAS = {"front": 0.0, "left": 2.1, "right": -2.1}
"""Directions in which the cameras look, counterclockwise in radians."""
SIZES = {"Car": (4.2, 1.8, 1.5), "Pedestrian": (0.8, 0.6, 1.75)}
HEIGHT = 1.6
"""Of the cameras, metres."""
SPEED = 8.0
"""Of the vehicle, m/s."""
LENGTH = 120.0
"""Metres of the street around the vehicle; objects that fall behind appear ahead."""
ODOMETRY_RATE = 50.0
PATIENCE = 60.0
"""Longest wait for the first answer in seconds."""


class Vehicle(Node):
    """Three cameras and the odometry of a vehicle among objects, half of which move."""

    def __init__(self, objects: int, rate: float, watched: bool) -> None:
        """`watched`: also subscribe to ~/objects."""
        super().__init__("vehicle")
        rng = self._rng = np.random.default_rng(0)
        self._places = rng.uniform((0, -30), (LENGTH, 30), (objects, 2))
        self._speeds = np.where(np.arange(objects) % 2, 0.0, rng.uniform(-8, 8, objects))
        self._names = ["Pedestrian" if k % 4 == 0 else "Car" for k in range(objects)]
        self.time, self.sent, self.answers = 0.0, 0, 0
        self._steps, self._each = 0, round(ODOMETRY_RATE / rate)
        self.values: dict[str, str] = {}
        self._odometry = self.create_publisher(Odometry, "odometry", 10)
        self._cameras = {
            name: self.create_publisher(Detection3DArray, f"{name}/detections", 10)
            for name in CAMERAS
        }
        self.create_subscription(Detection3DArray, "/km3d_tracker/tracks", self._count, 50)
        if watched:
            topic = "/km3d_tracker/objects"
            self.create_subscription(TrackedObjectArray, topic, lambda message: None, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._report, 10)
        self.create_timer(1 / ODOMETRY_RATE, self._step)

    def _count(self, message: Detection3DArray) -> None:
        self.answers += 1

    def _report(self, message: DiagnosticArray) -> None:
        self.values = {pair.key: pair.value for pair in message.status[0].values}

    def _step(self) -> None:
        """Publish the odometry and, when it is time, what the cameras see."""
        if not all(p.get_subscription_count() for p in (self._odometry, *self._cameras.values())):
            return
        self._steps += 1
        self.time = self._steps / ODOMETRY_RATE
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id = "odom"
        _set_stamp(message.header, self.time)
        message.pose.pose.position.x = SPEED * self.time
        message.pose.pose.orientation.w = 1.0
        self._odometry.publish(message)
        if self._steps % self._each == 0:
            self._look()

    def _look(self) -> None:
        offset = self._places + np.outer(self.time * self._speeds, (1, 0))
        offset[:, 0] = (offset[:, 0] - SPEED * self.time) % LENGTH - LENGTH / 2
        bearing = np.arctan2(offset[:, 1], offset[:, 0])
        turns = np.array([[bearing - angle for angle in CAMERAS.values()]])[0]
        nearest = np.abs((turns + np.pi) % (2 * np.pi) - np.pi).argmin(0)
        for number, name in enumerate(CAMERAS):
            rows = np.flatnonzero(nearest == number)
            self._cameras[name].publish(self._detections(name, offset[rows], rows))
            self.sent += 1

    def _detections(self, camera: str, offset: np.ndarray, rows: np.ndarray) -> Detection3DArray:
        message = Detection3DArray()
        message.header.frame_id = camera
        _set_stamp(message.header, self.time)
        c, s = np.cos(CAMERAS[camera]), np.sin(CAMERAS[camera])
        for row, (x, y) in zip(rows, offset, strict=True):
            size = SIZES[self._names[row]]
            right, down = s * x - c * y, HEIGHT - size[2] / 2
            place = np.array([right, down, c * x + s * y])
            place *= 1 + 0.05 * self._rng.standard_normal()
            detection = Detection3D()
            box = detection.bbox
            p, turn = box.center.position, box.center.orientation
            p.x, p.y, p.z = place.tolist()
            half = (-np.pi / 2 + CAMERAS[camera]) / 2
            a, b = np.cos(half) * np.sqrt(0.5), np.sin(half) * np.sqrt(0.5)
            turn.x, turn.y, turn.z, turn.w = a, b, -b, a
            box.size.x, box.size.y, box.size.z = size
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = self._names[row], 0.7
            covariance = np.diag([0.01, 0.01, 0.01, np.pi**2, 0.04, np.pi**2])
            covariance[:3, :3] += 0.05**2 * np.outer(place, place)
            result.pose.covariance = covariance.flatten()
            detection.results.append(result)
            message.detections.append(detection)
        return message


def _set_stamp(header, seconds: float) -> None:
    header.stamp.sec = int(seconds)
    header.stamp.nanosec = int(seconds % 1 * 1e9)


def launch() -> subprocess.Popen:
    """The node with the mounts of the cameras."""
    inputs = ", ".join(f"{name}/detections" for name in CAMERAS)
    mounts = ", ".join(
        f"'{name} 0 0 {HEIGHT} {-np.pi / 2} 0 {-np.pi / 2 + angle}'"
        for name, angle in CAMERAS.items()
    )
    values = (f"inputs:=[{inputs}]", f"mounts:=[{mounts}]", "base_frame:=base_link")
    arguments = [text for value in values for text in ("-p", value)]
    command = [sys.executable, "-m", "km3d_ros.node.tracker_main", "--ros-args", *arguments]
    return subprocess.Popen(command, cwd=ROOT)


def drive(options: argparse.Namespace) -> dict[str, object]:
    """Run the node for some time; returns counts, milliseconds and memory."""
    node = launch()
    rclpy.init()
    vehicle = Vehicle(options.objects, options.rate, options.watched)
    executor = SingleThreadedExecutor()
    executor.add_node(vehicle)
    resident: list[tuple[float, float]] = []
    try:
        begin = time.monotonic()
        while not vehicle.answers and node.poll() is None and time.monotonic() < begin + PATIENCE:
            executor.spin_once(timeout_sec=0.1)
        if not vehicle.answers:
            sys.exit(f"the node answered none of {vehicle.sent} messages")
        start, used, answers = time.monotonic(), processor_seconds(node), vehicle.answers
        while node.poll() is None and (elapsed := time.monotonic() - start) < options.seconds:
            executor.spin_once(timeout_sec=0.1)
            resident.append((elapsed, megabytes(node)))
        used, answers = processor_seconds(node) - used, vehicle.answers - answers
    finally:
        node.send_signal(signal.SIGINT)
        code = node.wait()
        executor.shutdown()
        rclpy.shutdown()
    if code != 0:
        sys.exit(f"the node exited with code {code}")
    values = vehicle.values
    return {
        "sent": vehicle.sent,
        "answered": vehicle.answers,
        "tracks": int(values["tracks"]),
        "milliseconds": {p: float(values[f"processing_ms.{p}"]) for p in ("p50", "p95", "p99")},
        "processor_milliseconds_per_message": round(1e3 * used / answers, 2),
        "memory_mb": growth(resident),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to publish")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second and camera")
    parser.add_argument("--objects", type=int, default=100, help="around the vehicle")
    parser.add_argument("--watched", action="store_true", help="subscribe to ~/objects, too")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    print(json.dumps(drive(options), indent=2))


if __name__ == "__main__":
    main()
