import math

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from km3d_ros.msg import FrameTiming

from km3d_ros.bag import BagWriter
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo import topics
from km3d_ros.demo.recorded_frames import Answer
from km3d_ros.demo.session import Clocking
from km3d_ros.demo.summary import summarize, table
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections

CLASSES = ("Car", "Pedestrian", "Cyclist")
CAMERA = CameraModel.from_intrinsics([[700, 0, 640], [0, 700, 192], [0, 0, 1]], 1280, 384)
FRAMES = 50
AWAY = -math.pi / 2


def true_car(stamp):
    """A car 10 m ahead in the first frame, half a metre further in each one after."""
    depth = 10 + stamp / 2
    return KittiObject(
        "Car", 0.0, 0, AWAY, (600, 150, 680, 220), (4.0, 1.6, 1.5), (0.0, 0.8, depth), AWAY
    )


def found_car(stamp, farther):
    truth = true_car(stamp)
    x, y, z = truth.center
    one = torch.ones(1)
    return Detections(
        class_index=torch.zeros(1, dtype=torch.int64),
        score=one * 0.9,
        peak_score=one,
        confidence=one * 0.9,
        depth_error=one * 0.04,
        box2d=torch.tensor([truth.box2d]),
        keypoints=torch.zeros(1, 9, 2),
        size=torch.tensor([truth.size]),
        center=torch.tensor([[x, y, z * (1 + farther)]]),
        yaw=one * AWAY,
        alpha=one * AWAY,
        covariance=torch.eye(4)[None],
        reprojection_error=one,
    )


def summary(folder, answered, farther=0.0):
    """Of a drive whose every frame took 20 ms, with cars found that much too far away."""
    with BagWriter(folder / "drive.mcap") as writer:
        for stamp in range(answered):
            writer.write(topics.TIMING, FrameTiming(network=0.012, total=0.016), stamp)
        values = [
            KeyValue(key="backend", value="torch float32 on cpu"),
            KeyValue(key="weights", value="embedded"),
        ]
        status = DiagnosticArray(status=[DiagnosticStatus(values=values)])
        writer.write(topics.DIAGNOSTICS, status, 0)
    image = np.zeros((384, 1280, 3), np.uint8)
    answers = [Answer(s, image, CAMERA, found_car(s, farther)) for s in range(answered)]
    published = {stamp: stamp * 100_000_000 for stamp in range(FRAMES)}
    clocking = Clocking(published, [published[a.stamp] + 20_000_000 for a in answers])
    truth = {stamp: [true_car(stamp)] for stamp in range(FRAMES)}
    return summarize(folder / "drive.mcap", clocking, answers, truth, CLASSES)


def test_perfect_answers_score_a_hundred_percent(tmp_path):
    figures = summary(tmp_path, FRAMES)
    assert figures["frames_published"] == figures["frames_answered"] == FRAMES
    assert figures["latency_ms"] == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    assert figures["stage_ms"]["network"] == pytest.approx(12)
    assert figures["stage_ms"]["total"] == pytest.approx(16)
    assert figures["ap3d_r40"]["Car"] == {"easy": 100, "moderate": 100, "hard": 100}
    assert figures["median_relative_depth_error"] == {"0-15": 0, "15-30": 0, "30-50": 0}
    assert (figures["weights"], figures["backend"]) == ("embedded", "torch float32 on cpu")


def test_wrong_distances_cost_precision_and_show_as_depth_error(tmp_path):
    figures = summary(tmp_path, FRAMES, farther=0.05)
    assert figures["ap3d_r40"]["Car"]["moderate"] < figures["ap3d_r40_iou50"]["Car"]["moderate"]
    assert figures["median_relative_depth_error"]["15-30"] == pytest.approx(0.05, abs=1e-4)


def test_unanswered_frames_count_as_misses(tmp_path):
    figures = summary(tmp_path, FRAMES // 2)
    assert figures["frames_answered"] == FRAMES // 2
    assert figures["frames_dropped"] == FRAMES - FRAMES // 2
    assert figures["ap3d_r40"]["Car"]["easy"] == pytest.approx(50, abs=3)


def test_no_answer_at_all_gives_figures_without_latency(tmp_path):
    figures = summary(tmp_path, 0)
    assert figures["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert figures["median_relative_depth_error"]["0-15"] is None
    assert f"0 of {FRAMES} answered" in table(figures)
