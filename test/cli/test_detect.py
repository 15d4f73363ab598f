import json

import cv2
import numpy as np
import pytest
import torch

from km3d_ros.cli import main
from km3d_ros.data.kitti import read_results, write_calibration
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector

PROJECTION = np.array([[90, 0, 74, 4.5], [0, 90, 29, 0.3], [0, 0, 1, 0.003]])


@pytest.fixture
def frames(tmp_path):
    """Three images, and a calibration file for each."""
    for folder in ("images", "calib"):
        (tmp_path / folder).mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        image = random.integers(0, 256, (60, 150, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
        write_calibration(tmp_path / "calib" / f"{name}.txt", PROJECTION)
    return tmp_path


def detect(frames, weights, *options, calib="calib"):
    inputs = ["--images", str(frames / "images"), "--calib", str(frames / calib)]
    outputs = ["--out", str(frames / "out"), "--weights", str(weights), "--device", "cpu"]
    return main(["detect", *inputs, *outputs, *options])


def read_lines(frames):
    return [json.loads(line) for line in (frames / "out" / "detections.jsonl").open()]


def test_detect_writes_all_numbers_of_the_detector(frames, weights):
    options = ("--score-threshold", "0", "--max-detections", "20", "--grm", "published")
    assert detect(frames, weights, *options) == 0
    lines = read_lines(frames)
    assert [line["image"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert [len(line["detections"]) for line in lines] == [20, 20, 20]
    detector = Detector.from_checkpoint(weights, "cpu", 0, 20, "published")
    camera = CameraModel.from_projection(PROJECTION, 150, 60)
    expected = detector(cv2.imread(str(frames / "images" / "b.png")), camera)
    for name in ("score", "peak_score", "keypoints", "center", "yaw", "alpha", "covariance"):
        values = torch.tensor([record[name] for record in lines[1]["detections"]])
        torch.testing.assert_close(values, getattr(expected, name))


def test_detect_writes_one_result_file_per_image(frames, weights):
    assert detect(frames, weights, "--score-threshold", "0", "--max-detections", "20") == 0
    for name, line in zip("abc", read_lines(frames), strict=True):
        items = read_results(frames / "out" / f"{name}.txt")
        assert [item.class_name for item in items] == [
            record["class_name"] for record in line["detections"]
        ]
        scores = [record["score"] for record in line["detections"]]
        assert [item.score for item in items] == pytest.approx(scores, abs=1e-5)


def test_images_without_detections_get_empty_results(frames, weights):
    assert detect(frames, weights, "--score-threshold", "1") == 0
    assert (frames / "out" / "a.txt").read_text() == ""
    assert read_lines(frames)[0] == {"image": "a.png", "detections": []}


def test_one_calibration_file_serves_every_image(frames, weights):
    assert detect(frames, weights, "--score-threshold", "0") == 0
    separate = read_lines(frames)
    assert detect(frames, weights, "--score-threshold", "0", calib="calib/a.txt") == 0
    assert read_lines(frames) == separate


def test_one_calibration_file_serves_images_of_one_size_only(frames, weights, capsys):
    cv2.imwrite(str(frames / "images" / "b.png"), np.zeros((60, 140, 3), np.uint8))
    assert detect(frames, weights, calib="calib/a.txt") == 1
    message = f"{frames}/images/b.png: 140x60 pixels, expected 150x60 as of a.png\n"
    assert capsys.readouterr().err == f"km3d detect: {message}"
    assert detect(frames, weights) == 0


def test_draw_writes_annotated_pictures(frames, weights):
    assert detect(frames, weights, "--draw", "--score-threshold", "0") == 0
    picture = cv2.imread(str(frames / "out" / "annotated" / "a.png"))
    original = cv2.imread(str(frames / "images" / "a.png"))
    assert picture.shape == original.shape
    assert (picture != original).any()


def test_an_unreadable_image_is_named_and_finished_work_is_kept(frames, weights, capsys):
    (frames / "images" / "b.png").write_bytes(b"not an image")
    assert detect(frames, weights) == 1
    assert f"{frames}/images/b.png: not a readable PNG or JPEG image" in capsys.readouterr().err
    assert (frames / "out" / "a.txt").exists()
    assert [line["image"] for line in read_lines(frames)] == ["a.png"]


def test_a_picture_that_says_it_is_huge_is_named(frames, weights, capsys):
    path = frames / "images" / "b.png"
    data = path.read_bytes()
    path.write_bytes(data[:16] + b"\x00\x00\xff\xff" * 2 + data[24:])
    assert detect(frames, weights) == 1
    cause = "a picture of 65535x65535 pixels, expected at most 33.6 million"
    assert capsys.readouterr().err == f"km3d detect: {path}: {cause}\n"


def test_a_calibration_without_p2_is_named(frames, weights, capsys):
    (frames / "calib" / "b.txt").write_text("P0: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    assert detect(frames, weights) == 1
    assert f"{frames}/calib/b.txt: no P2" in capsys.readouterr().err
    assert (frames / "out" / "a.txt").exists()


def test_a_calibration_without_focal_length_is_named(frames, weights, capsys):
    write_calibration(frames / "calib" / "a.txt", np.zeros((3, 4)))
    assert detect(frames, weights) == 1
    assert (
        f"{frames}/calib/a.txt:1: P2 is not the K [I | t] of a rectified"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("count", ["0", "101", "many"])
def test_number_of_objects_is_that_of_the_node(frames, weights, count, capsys):
    with pytest.raises(SystemExit) as stop:
        detect(frames, weights, "--max-detections", count)
    assert stop.value.code == 2
    assert f"'{count}' is not a number from 1 to 100" in capsys.readouterr().err


def test_missing_folders_and_files_are_named(frames, weights, capsys):
    assert detect(frames, weights, "--images", str(frames / "nowhere")) == 1
    assert f"{frames}/nowhere: no such folder" in capsys.readouterr().err
    assert detect(frames, weights, "--calib", str(frames / "nothing")) == 1
    assert f"{frames}/nothing: no such file or folder" in capsys.readouterr().err
    assert detect(frames, frames / "none.safetensors") == 1
    assert f"{frames}/none.safetensors: no such file" in capsys.readouterr().err
    assert detect(frames, weights, "--images", str(frames / "calib")) == 1
    assert f"{frames}/calib: no images in it" in capsys.readouterr().err
