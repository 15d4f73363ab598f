import math
from time import perf_counter

import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import columns
from km3d_ros.inference.detector import Detector

SHAPES = {
    "class_index": (),
    "score": (),
    "peak_score": (),
    "confidence": (),
    "box2d": (4,),
    "keypoints": (9, 2),
    "size": (3,),
    "center": (3,),
    "yaw": (),
    "alpha": (),
    "covariance": (4, 4),
    "reprojection_error": (),
}


def of_any_size(height, width):
    focal = math.sqrt(height * width)
    return CameraModel.from_projection(np.diag([focal, focal, 1.0, 0.0])[:3], width, height)


def assert_table(detections, count):
    assert len(detections) == count
    for name, shape in SHAPES.items():
        values = getattr(detections, name)
        assert values.shape == (count, *shape), name
        assert values.dtype == (np.int64 if name == "class_index" else np.float32), name
        assert np.isfinite(values).all(), name


def test_detections_are_finite_and_ordered_by_peak_score(detector, image, camera):
    detector.grm = "published"
    detections = detector(image, camera)
    assert_table(detections, 20)
    assert (np.diff(detections.peak_score) <= 0).all()
    np.testing.assert_array_equal(detections.score, detections.peak_score * detections.confidence)


def test_consistent_detections_are_in_front_of_the_camera(detector, image, camera):
    detections = detector(image, camera)
    assert_table(detections, len(detections))
    assert (detections.center[:, 2] > 0).all()


def test_nothing_above_the_threshold_is_an_empty_table(detector, image, camera):
    detector.score_threshold = 1.1
    assert_table(detector(image, camera), 0)


def test_the_threshold_is_on_the_score_and_may_change_between_frames(detector, image, camera):
    everything = detector(image, camera)
    detector.score_threshold = float(np.median(everything.score))
    some = detector(image, camera)
    assert len(some) == (everything.score >= detector.score_threshold).sum()
    assert 0 < len(some) < len(everything)


def test_at_most_max_detections_are_the_best_ones(detector, image, camera):
    detector.grm = "published"
    everything = detector(image, camera)
    detector.max_detections = 5
    np.testing.assert_array_equal(detector(image, camera).peak_score, everything.peak_score[:5])


def test_other_classes_do_not_count_towards_max_detections(detector, image, camera, monkeypatch):
    """The first half of the peaks are cars, the others pedestrians."""
    detector.grm = "published"
    run = detector.choice.backend.run

    def two_classes(inputs):
        tables = run(inputs)
        for table in tables:
            table[..., columns()["class_index"].start] = np.arange(table.shape[1]) >= 10
        return tables

    monkeypatch.setattr(detector.choice.backend, "run", two_classes)
    everything = detector(image, camera)
    detector.classes, detector.max_detections = ["Pedestrian"], 5
    found = detector(image, camera)
    assert found.class_index.tolist() == [1] * 5
    np.testing.assert_array_equal(found.peak_score, everything.peak_score[10:15])


def test_the_same_weights_follow_the_live_camera(detector, image, camera):
    detector.grm = "published"
    longer = CameraModel.from_intrinsics([[180, 0, 74], [0, 180, 29], [0, 0, 1]], 150, 60)
    near, far = detector(image, camera), detector(image, longer)
    np.testing.assert_array_equal(near.keypoints, far.keypoints)
    assert not np.allclose(near.center, far.center, rtol=0.1)


def test_only_an_object_that_is_not_finite_is_left_out(detector, image, camera, monkeypatch):
    detector.grm = "published"
    complete = detector(image, camera)
    run = detector.choice.backend.run

    def poisoned(inputs):
        tables = run(inputs)
        for table in tables:
            table[0, 3, columns()["size"].start] = math.nan
            table[0, 9, columns()["keypoints"].start + 4] = math.inf
        return tables

    monkeypatch.setattr(detector.choice.backend, "run", poisoned)
    rest = detector(image, camera)
    kept = [row for row in range(20) if row not in (3, 9)]
    np.testing.assert_array_equal(rest.peak_score, complete.peak_score[kept])
    np.testing.assert_allclose(rest.center, complete.center[kept])


def test_stage_times_fit_into_the_frame(detector, image, camera):
    start = perf_counter()
    _, seconds = detector.batch([image], [camera])
    elapsed = perf_counter() - start
    assert min(seconds.preprocess, seconds.network, seconds.decode) > 0
    assert seconds.preprocess + seconds.network + seconds.decode < elapsed


def test_images_of_several_cameras_at_once_are_seen_as_each_alone(detector, image, camera):
    other = CameraModel.from_intrinsics([[90, 0, 60], [0, 95, 30], [0, 0, 1]], 120, 70)
    pictures = [image, np.ascontiguousarray(image[::-1, ::-1].repeat(2, 0)[:70, :120])]
    together, _ = detector.batch(pictures, [camera, other])
    for found, picture, own in zip(together, pictures, (camera, other), strict=True):
        alone = detector(picture, own)
        for name, expected in vars(alone).items():
            np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-4, atol=1e-4)


def test_half_precision_gives_nearly_the_same_peaks(weights, detector, image, camera):
    half = Detector.from_checkpoint(weights, "cpu", 0, 20, precision="float16")
    half.grm = detector.grm = "published"
    found, expected = half(image, camera), detector(image, camera)
    assert found.center.dtype == np.float32
    np.testing.assert_allclose(found.peak_score, expected.peak_score, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((60, 151, 3), np.uint8), "image is 151x60 pixels, but its camera 150x60"),
        (np.zeros((60, 150), np.uint8), r"image is uint8 \(60, 150\), expected uint8 \(h, w, 3\)"),
        (np.zeros((60, 150, 3)), r"image is float64 \(60, 150, 3\), expected uint8"),
    ],
)
def test_an_image_of_another_size_or_kind_is_refused(detector, camera, wrong, message):
    with pytest.raises(InputError, match=message):
        detector(wrong, camera)


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (2, 2), (1, 32766), (32766, 1)])
def test_images_of_any_proportions_are_answered(detector, size):
    image = np.full((*size, 3), 128, np.uint8)
    camera = of_any_size(*size)
    assert np.isfinite(detector(image, camera).score).all()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 1), "image is a single pixel"),
        ((1, 32767), "image is 32767x1 pixels, expected at most 32766 a side"),
        ((32767, 1), "image is 1x32767 pixels, expected at most 32766 a side"),
    ],
)
def test_images_that_opencv_4_cannot_scale_are_refused(detector, size, message):
    camera = of_any_size(*size)
    with pytest.raises(InputError, match=message):
        detector(np.zeros((*size, 3), np.uint8), camera)


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_named(weights, device):
    with pytest.raises(InputError, match=f"device '{device}' is not available here"):
        Detector.from_checkpoint(weights, device)
