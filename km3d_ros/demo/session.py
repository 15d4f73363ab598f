"""Starts the nodes as a user does, plays a bag into them over DDS, and records the results."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import rclpy
from ament_index_python.packages import get_package_prefix, get_package_share_path
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from km3d_ros.bag import BagWriter
from km3d_ros.demo.publishing import RELIABLE
from km3d_ros.demo.topics import (
    ANSWERS,
    BASE_FRAME,
    DETECTIONS,
    IMAGE,
    MOUNT,
    PROFILE_VARIABLES,
    RECORDED,
)
from km3d_ros.errors import InputError

START_PATIENCE = 120.0  # seconds until the node must be active
RETRY = 5.0  # seconds after which a response counts as lost
ANSWER_PATIENCE = 5.0  # seconds without an answer after which the rest counts as lost


@dataclass(frozen=True)
class Clocking:
    """Times in nanoseconds (`time.monotonic_ns`).

    published: publication of every image, by its stamp in nanoseconds.
    answered: arrival of every message on `DETECTIONS`, in order.
    """

    published: dict[int, int]
    answered: list[int]


def run(sent: Path, recorded: Path, frames: int, weights: Path | None) -> Clocking:
    """Play a bag into the node and record its inputs and outputs.

    sent: the bag to play, with `frames` images; logs are written beside it.
    recorded: the bag to write.
    weights: a weights file; None for the embedded one.

    Raises:
        InputError: the node or the player failed; the message quotes its last line.
    """
    rclpy.init(args=[])
    node = rclpy.create_node("demo")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    detect = _command("km3d_node", *([f"weights:={weights.resolve()}"] if weights else []))
    track = _command("km3d_tracker", f"base_frame:={BASE_FRAME}", f"mounts:=['{MOUNT}']")
    try:
        with (
            _Program(detect, sent.with_name("node.log")) as detector,
            _Program(track, sent.with_name("tracker.log")) as tracker,
        ):

            def spin() -> None:
                detector.require()
                tracker.require()
                executor.spin_once(timeout_sec=0.1)

            for name in ("km3d", "km3d_tracker"):
                _wait_until_active(node, name, spin)
            if node.count_publishers(IMAGE) or node.count_publishers(DETECTIONS) > 1:
                raise InputError(
                    f"another program publishes {IMAGE} or {DETECTIONS}: stop it, or set another "
                    "ROS_DOMAIN_ID"
                )
            with BagWriter(recorded) as writer:
                recorder = Recorder(node, writer, RECORDED)
                published = _play(sent, spin)
                _wait_for_answers(recorder, frames, spin)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return Clocking(published, recorder.arrivals[DETECTIONS])


class Recorder:
    """Writes the messages of some topics to a bag as they arrive.

    arrivals: per topic, when each message arrived (`time.monotonic_ns`).
    """

    def __init__(self, node: Node, writer: BagWriter, topics: Mapping[str, type]) -> None:
        self.arrivals: dict[str, list[int]] = {topic: [] for topic in topics}
        self._writer = writer
        for topic, message_type in topics.items():
            callback = partial(self._store, topic, message_type)
            node.create_subscription(message_type, topic, callback, RELIABLE, raw=True)

    def _store(self, topic: str, message_type: type, data: bytes) -> None:
        self.arrivals[topic].append(time.monotonic_ns())
        self._writer.write_serialized(topic, message_type, data, time.time_ns())


class _Program:
    """Context manager for a process that writes to a log and is stopped with SIGINT."""

    def __init__(self, command: Sequence[str | Path], log: Path, **environment: str) -> None:
        self._log = log
        with open(log, "w") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **environment}
            )

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_running(self) -> bool:
        """Whether the process still runs. Raises InputError if it ended with an error."""
        code = self._process.poll()
        if code:
            words = self._log.read_text().strip().rpartition("\n")[2]
            raise InputError(f"the {self._log.stem} ended with code {code}: {words}")
        return code is None

    def require(self) -> None:
        """Raise InputError if the process has ended, with an error or without."""
        if not self.is_running():
            raise InputError(f"the {self._log.stem} ended early, see {self._log}")


def _command(executable: str, *parameters: str) -> list[str]:
    path = Path(get_package_prefix("km3d_ros")) / "lib" / "km3d_ros" / executable
    return [str(path), "--ros-args", *(word for value in parameters for word in ("-p", value))]


def _wait_until_active(node: Node, name: str, spin: Callable[[], None]) -> None:
    client = node.create_client(GetState, f"/{name}/get_state")
    deadline = time.monotonic() + START_PATIENCE
    answer, asked = None, 0.0
    while time.monotonic() < deadline:
        # A response that is sent before the node has found this client is lost.
        lost = time.monotonic() > asked + RETRY
        if (answer is None or lost) and client.service_is_ready():
            answer, asked = client.call_async(GetState.Request()), time.monotonic()
        spin()
        if answer is not None and answer.done():
            if answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                break
            answer = None
    else:
        raise InputError(f"the node {name} was not active after {START_PATIENCE:g} s")


def _play(bag: Path, spin: Callable[[], None]) -> dict[int, int]:
    """Run the player to its end; returns the publication time of each image, by stamp."""
    log = bag.with_name("published.csv")
    profile = str(get_package_share_path("km3d_ros") / "config" / "fastdds_shm.xml")
    # The two subscribers are one of the nodes and the recorder.
    command = [sys.executable, "-m", "km3d_ros.demo.player", bag, "--subscribers", "2"]
    command += ["--log", log]
    words = bag.with_name("player.log")
    with _Program(command, words, **dict.fromkeys(PROFILE_VARIABLES, profile)) as player:
        while player.is_running():
            spin()
    with open(log) as file:
        return {int(stamp): int(now) for topic, stamp, now in csv.reader(file) if topic == IMAGE}


def _wait_for_answers(recorder: Recorder, frames: int, spin: Callable[[], None]) -> None:
    """Spin until every frame is answered, or no further answer comes."""
    answered, deadline = -1, 0.0
    while answered < frames:
        count = min(len(recorder.arrivals[topic]) for topic in ANSWERS)
        if count > answered:
            answered, deadline = count, time.monotonic() + ANSWER_PATIENCE
        elif time.monotonic() > deadline:
            return
        spin()
