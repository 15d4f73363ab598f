import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from support.drives import PERIOD, START, camera_info, image, record
from vision_msgs.msg import Detection3DArray

from km3d_ros import bag
from km3d_ros.cli import main
from km3d_ros.demo.session import Recorder
from km3d_ros.node.detector_node import DetectorNode

PATIENCE = 60.0


def cameras(path, frames):
    """A recording of a camera alone."""
    entries = []
    for i in range(frames):
        entries.append(("image", image(i), i * PERIOD))
        entries.append(("camera_info", camera_info(i), i * PERIOD))
    return record(path, entries)


def start_playing(path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "km3d_ros.demo.player", path, "--subscribers", "1", *arguments],
        cwd=Path(bag.__file__).parents[2],
    )


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("recorder", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_played_bag_arrives_whole_after_the_logged_times(tmp_path, node):
    topics = {"image": Image, "camera_info": CameraInfo}
    cameras(tmp_path / "sent.mcap", 6)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    with bag.BagWriter(tmp_path / "received.mcap") as writer:
        recorder = Recorder(node, writer, topics)
        log = ("--rate", "2", "--log", tmp_path / "log.csv")
        player = start_playing(tmp_path / "sent.mcap", *log)
        while player.poll() is None or min(map(len, recorder.arrivals.values())) < 6:
            executor.spin_once(timeout_sec=0.1)
            assert player.poll() in (None, 0)
    sent, received = (
        {(e.topic, e.message.header.stamp.nanosec): e.message for e in bag.read_bag(path)}
        for path in (tmp_path / "sent.mcap", tmp_path / "received.mcap")
    )
    assert received == sent
    with open(tmp_path / "log.csv") as file:
        rows = [(int(recorded), int(now)) for topic, recorded, now in csv.reader(file)]
    assert np.all(np.array(recorder.arrivals["image"]) > [now for _, now in rows[::2]])


def test_playing_a_missing_bag_fails_in_one_line():
    command = [sys.executable, "-m", "km3d_ros.demo.player", "/nowhere.mcap"]
    player = subprocess.run(command, capture_output=True, text=True, check=False)
    assert player.returncode == 1
    assert "/nowhere.mcap" in player.stderr
    assert player.stderr.count("\n") == 1


@pytest.fixture
def live(weights):
    """A live node on simulated time, in a context of its own, and a peer."""
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"weights": str(weights), "score_threshold": 0.0, "max_detections": 4}
    values |= {"device": "cpu", "backend": "torch", "precision": "float32"}
    values |= {"rectified": False, "use_sim_time": True}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = DetectorNode(context=context, parameter_overrides=overrides)
    peer = rclpy.create_node("peer", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.add_node(peer)
    yield node, peer, executor
    executor.shutdown()
    node.destroy_node()
    peer.destroy_node()
    rclpy.shutdown(context=context)


def test_bag_played_twice_on_simulated_time_is_answered_as_km3d_bag_does(tmp_path, live, weights):
    path = cameras(tmp_path / "in.mcap", 4)
    wanted = ["--weights", str(weights), "--score-threshold", "0", "--max-detections", "4"]
    wanted += ["--device", "cpu", "--backend", "torch"]
    assert main(["bag", str(path), str(tmp_path / "out.mcap"), *wanted]) == 0
    expected = [e.message for e in bag.read_bag(tmp_path / "out.mcap", ["/km3d/detections"])]

    node, peer, executor = live
    answers = []
    peer.create_subscription(Detection3DArray, "/km3d/detections", answers.append, 10)
    clock = peer.create_publisher(Clock, "/clock", 10)
    peer.create_subscription(
        Image, "image", lambda image: clock.publish(Clock(clock=image.header.stamp)), 10
    )
    assert node.autostart()
    deadline = time.monotonic() + PATIENCE
    for _ in range(2):
        before = len(answers)
        player = start_playing(path, "--rate", "0.5")
        while player.poll() is None or expected[-1] not in answers[before:]:
            executor.spin_once(timeout_sec=0.1)
            assert player.poll() in (None, 0)
            assert time.monotonic() < deadline, "nothing happened in time"
        assert START <= node.get_clock().now().nanoseconds <= START + 3 * PERIOD
    assert [message for message in answers if message not in expected] == []
    assert node.statistics[""].totals().faults == 0
