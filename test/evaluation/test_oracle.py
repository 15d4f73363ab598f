"""Heads that say the truth, in an untrained network on rendered streets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.frames import car

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.oracle import detect_with_truth
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.decode import Peaks
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti
from km3d_ros.network.spec import INFERENCE_HEADS
from km3d_ros.town import render, sample_scene

WIDTH, HEIGHT = 320, 128


@pytest.fixture
def detector(weights):
    # The released solver leaves nothing out, not even what lies behind the camera.
    return Detector.from_checkpoint(weights, "cpu", 0, grm="published", backend="torch")


@pytest.fixture(scope="module")
def street():
    """Image, camera and labels."""
    frame = render(sample_scene(1, 3), WIDTH, HEIGHT)
    camera = CameraModel.from_projection(frame.projection, WIDTH, HEIGHT)
    return frame.image, camera, frame.objects


def known(labels, classes):
    return [item for item in labels if item.class_name in classes]


def column(labels, name):
    return np.array([getattr(item, name) for item in labels], np.float32)


def test_true_heads_give_the_labelled_boxes(detector, street):
    image, camera, labels = street
    detector.grm = "consistent"
    found = detect_with_truth(detector, image, camera, labels, INFERENCE_HEADS)
    expected = known(labels, detector.spec.classes)
    assert len(found) == len(expected) >= 3
    np.testing.assert_allclose(found.center, column(expected, "center"), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.size, column(expected, "size"), rtol=1e-5)
    np.testing.assert_allclose(found.score, 1, rtol=0, atol=1e-2)


def test_true_heads_are_as_precise_as_the_labels_themselves(detector):
    truth, results = [], []
    for number in range(4):
        frame = render(sample_scene(2, number), WIDTH, HEIGHT)
        camera = CameraModel.from_projection(frame.projection, WIDTH, HEIGHT)
        found = detect_with_truth(detector, frame.image, camera, frame.objects, INFERENCE_HEADS)
        truth.append(frame.objects)
        results.append(to_kitti(found, detector.spec.classes))
    perfect = [[replace(item, score=1.0) for item in known(i, ["Car"])] for i in truth]
    best = evaluate(truth, perfect)["Car"]["3d"]["R40"]
    assert evaluate(truth, results)["Car"]["3d"]["R40"] == best
    assert best[2] >= 10


def test_peak_says_the_truth_of_the_nearest_object_of_its_class_that_it_lies_on(
    detector, street, monkeypatch
):
    image, camera, _ = street  # 320 pixels wide for an input of 160: a cell is 8 pixels
    labels = [
        car((0.0, 0.0, 160.0, 120.0), size=(4.1, 1.7, 1.5)),
        car((100.0, 0.0, 260.0, 120.0), size=(4.2, 1.7, 1.5)),
        replace(car((0.0, 0.0, 319.0, 127.0)), class_name="Van"),
    ]
    x = torch.tensor([[2, 13, 18, 35, 13]])
    peaks = Peaks(
        score=torch.full((1, 5), 0.5),
        class_index=torch.tensor([[0, 0, 0, 0, 1]]),
        x=x,
        y=torch.full_like(x, 6),
    )
    graph = detector.choice.backend.graph
    look = graph.look
    monkeypatch.setattr(graph, "look", lambda pixels: (look(pixels)[0], peaks))
    plain = detector(image, camera)
    told = detect_with_truth(detector, image, camera, labels, ["dim"])
    assert told.size[:3, 0].tolist() == pytest.approx([4.1, 4.1, 4.2])
    np.testing.assert_array_equal(told.size[3:], plain.size[3:])


def test_swapped_size_and_angle_are_those_of_the_labels(detector, street):
    image, camera, labels = street
    expected = known(labels, detector.spec.classes)
    plain = detect_with_truth(detector, image, camera, labels, ["hm"])
    told = detect_with_truth(detector, image, camera, labels, ["hm", "dim", "rot"])
    np.testing.assert_allclose(told.size, column(expected, "size"), rtol=1e-5)
    angles = np.remainder(told.alpha - column(expected, "alpha") + 1, 2 * np.pi) - 1
    assert abs(angles).max() < 0.02
    np.testing.assert_array_equal(told.keypoints, plain.keypoints)
    np.testing.assert_array_equal(told.confidence, plain.confidence)


def test_true_confidence_is_the_overlap_that_is_reached(detector, street):
    image, camera, labels = street
    heads = ["hm", "hps", "dim", "rot"]
    right = detect_with_truth(detector, image, camera, labels, [*heads, "prob"])
    # Without the truth of sizes the same boxes overlap less.
    wrong = detect_with_truth(detector, image, camera, labels, ["hm", "hps", "rot", "prob"])
    assert right.confidence.min() > 0.95
    assert wrong.confidence.max() < 0.95
    alone = detect_with_truth(detector, image, camera, [], ["prob"])
    assert alone.confidence.max() == 0


def test_image_without_objects_has_no_true_peaks(detector, street):
    image, camera, _ = street
    region = KittiObject.of_box2d("DontCare", (10, 10, 90, 90))
    flat = replace(car((20.0, 20.0, 90.0, 80.0)), size=(-1, -1, -1))
    beside = car((-90.0, 20.0, -10.0, 80.0))
    labels = [region, flat, beside, replace(car(), class_name="Van")]
    assert len(detect_with_truth(detector, image, camera, labels, ["hm"])) == 0
    plain = detector(image, camera)
    told = detect_with_truth(detector, image, camera, labels, ["hps", "dim", "rot"])
    torch.testing.assert_close(told.center, plain.center)


def test_keypoints_behind_the_camera_stay_as_the_network_sees_them(detector, street):
    image, camera, _ = street
    near = car((0.0, 20.0, 200.0, 120.0), center=(-1.6, 0.8, 1.2), yaw=-np.pi / 2)
    plain = detect_with_truth(detector, image, camera, [near], ["hm"])
    told = detect_with_truth(detector, image, camera, [near], ["hm", "hps"])
    same = (told.keypoints == plain.keypoints).all(-1)[0]
    assert same.tolist() == [False, False, True, True, False, False, True, True, False]
