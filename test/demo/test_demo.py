import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader

import km3d_ros
from km3d_ros.demo import player, town_camera
from km3d_ros.demo.__main__ import main
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

FRAMES = 8


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short demo with a small network of random weights that sees an object in every cell."""
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(1)
    spec = ModelSpec("lite", input_size=(64, 160))
    model = KM3DNet(spec)
    with torch.no_grad():
        for name in ("hm", "prob"):
            model.heads[name][-1].bias.fill_(2.0)
    checkpoint.save(folder / "random.safetensors", model, spec)
    options = ["--out", folder, "--frames", FRAMES, "--weights", folder / "random.safetensors"]
    run = subprocess.run(
        [sys.executable, "-m", "km3d_ros.demo", *map(str, options)],
        cwd=Path(km3d_ros.__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (folder / "summary.json").exists(), run.stderr
    return folder, run


def test_frames_are_counted_and_unanswered_ones_fail_the_demo(finished):
    folder, run = finished
    summary = json.loads((folder / "summary.json").read_text())
    published, answered, dropped = (
        summary[f"frames_{what}"] for what in ("published", "answered", "dropped")
    )
    # How many are dropped is up to the machine.
    assert published == FRAMES == answered + dropped
    assert answered > 0
    assert f"{answered} of {FRAMES} answered, {dropped} dropped" in run.stdout
    missing = FRAMES - answered
    assert run.returncode == (1 if missing else 0)
    assert (f"{missing} of {FRAMES} frames were not answered" in run.stderr) == (missing > 0)
    assert 0 < summary["stage_ms"]["network"] < summary["stage_ms"]["total"]
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert set(summary["ap3d_r40"]["Car"]) == {"easy", "moderate", "hard"}
    assert set(summary["median_relative_depth_error"]) == {"0-15", "15-30", "30-50"}
    assert summary["weights"].endswith("random.safetensors")


def test_independent_reader_finds_well_formed_answers_in_the_recording(finished):
    stamps = {}
    with AnyReader([finished[0] / "drive.mcap"]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if not hasattr(message, "header"):
                continue
            stamp = message.header.stamp
            stamps.setdefault(connection.topic, []).append((stamp.sec, stamp.nanosec))
            for found in getattr(message, "detections", ()):
                assert found.header == message.header
                tracked = connection.topic.startswith("/km3d_tracker/")
                assert found.header.frame_id == ("odom" if tracked else "camera")
                q = found.bbox.center.orientation
                assert np.linalg.norm([q.x, q.y, q.z, q.w]) == pytest.approx(1.0, abs=1e-6)
    assert len(set(stamps["/image"])) == FRAMES
    assert stamps["/camera_info"] == stamps["/image"]
    assert set(stamps["/km3d/detections"]) <= set(stamps["/image"])
    assert stamps["/km3d/detections"] == stamps["/km3d/objects"] == stamps["/km3d/timing"]
    assert stamps["/odometry"] == stamps["/image"]
    assert stamps["/km3d_tracker/tracks"] == stamps["/km3d_tracker/objects"]
    assert stamps["/km3d_tracker/tracks"] == stamps["/km3d/detections"]


def test_film_and_pictures_show_the_answered_frames(finished):
    folder, _ = finished
    answered = json.loads((folder / "summary.json").read_text())["frames_answered"]
    with av.open(str(folder / "overlay.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        pictures = [frame.to_ndarray(format="bgr24") for frame in film.decode(stream)]
    assert len(pictures) == answered
    stills = [cv2.imread(str(path)) for path in sorted(folder.glob("frame_*.png"))]
    assert len(stills) == min(3, answered)
    height, width = pictures[0].shape[:2]
    for still in stills:
        differences = [np.abs(still[:height, :width] - p.astype(float)).mean() for p in pictures]
        assert min(differences) < 6


def test_missing_weights_end_the_demo_with_the_reason(tmp_path, capsys):
    missing = str(tmp_path / "none.safetensors")
    assert main(["--out", str(tmp_path), "--weights", missing]) == 1
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "option"),
    [
        (main, "--rate=0"),
        (main, "--rate=nan"),
        (main, "--rate=inf"),
        (main, "--frames=0"),
        (main, "--seed=-1"),
        (player.main, "--rate=0"),
        (player.main, "--rate=-1"),
        (player.main, "--subscribers=-1"),
        (town_camera.main, "--frames=0"),
        (town_camera.main, "--seed=-1"),
    ],
)
def test_impossible_number_is_refused_with_the_range(program, option, capsys):
    name, value = option.split("=")
    with pytest.raises(SystemExit, match="2"):
        program(["program", option] if program is not main else [option])
    assert f"argument {name}: '{value}' is not a" in capsys.readouterr().err
