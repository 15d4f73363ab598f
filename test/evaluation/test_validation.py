import pytest
import torch
from support.frames import write_frames

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all, validate
from km3d_ros.inference.detector import Detector
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import INFERENCE_HEADS, ModelSpec


@pytest.fixture
def detector(weights):
    return Detector.from_checkpoint(weights, "cpu", LEAST_SCORE, backend="torch")


def test_findings_have_an_entry_for_every_frame(detector, tmp_path):
    frames = KittiDataset(write_frames(tmp_path, 3))
    findings = detect_all(detector, frames, INFERENCE_HEADS)
    assert [len(objects) for objects in findings.truth] == [1, 1, 0]
    assert [len(found) for found in findings.detections] == [1, 1, 0]
    (car,), _, _ = findings.results
    assert car.class_name == "Car"
    assert car.center == pytest.approx(findings.truth[0][0].center, abs=1e-3)


def test_weights_are_judged_at_two_overlaps(detector, tmp_path):
    figures = validate(detector, KittiDataset(write_frames(tmp_path, 2)))
    assert figures["frames"] == 2
    assert list(figures["ap_r40"]["Car"]) == ["2d", "bev", "3d", "bev@0.5", "3d@0.5"]


def test_weights_of_other_classes_are_judged_by_theirs(tmp_path):
    spec = ModelSpec("lite", ("Bus", "Forklift"), input_size=(64, 160))
    other = Detector.of_model(KM3DNet(spec).eval(), spec, torch.device("cpu"), LEAST_SCORE)
    figures = validate(other, KittiDataset(write_frames(tmp_path, 2), classes=spec.classes))
    assert {name: ap["3d"] for name, ap in figures["ap_r40"].items()} == {
        "Bus": [None] * 3,
        "Forklift": [None] * 3,
    }
    assert set(figures["median_relative_depth_error"].values()) == {None}


def test_frame_that_cannot_be_read_is_named(detector, tmp_path):
    frames = KittiDataset(write_frames(tmp_path, 2))
    (tmp_path / "image_2" / "000001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"000001\.png: not a readable PNG or JPEG image"):
        detect_all(detector, frames)
