import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.inference.detections import Detections
from km3d_ros.node.markers import marker_array
from km3d_ros.node.messages import detection_array, image_message, keypoint_array

CLASSES = ("Car", "Pedestrian")
CAMERA = CameraModel.from_intrinsics([[700, 0, 640], [0, 710, 192], [0, 0, 1]], 1280, 384)
HEADER = Header(frame_id="camera")
HEADER.stamp.sec = 7


def some(n, seed=0):
    """n detections with different numbers in every column."""
    rng = np.random.default_rng(seed)

    def random(*shape):
        return rng.random((n, *shape), np.float32)

    factor = random(4, 4)
    return Detections(
        class_index=np.arange(n) % 2,
        score=random(),
        peak_score=random(),
        confidence=random(),
        depth_error=random(),
        box2d=random(4) * 100,
        keypoints=random(9, 2) * 100,
        size=random(3) + 1,
        center=random(3) * 20 - np.float32([10, 0, 0]),
        yaw=random() * np.float32(2 * math.pi) - np.float32(math.pi),
        alpha=random(),
        covariance=factor @ factor.swapaxes(1, 2),
        reprojection_error=random(),
    )


def vector(message):
    return np.array([message.x, message.y, message.z])


def rotation(q):
    return Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()


def test_detection_carries_class_score_position_and_size():
    detections = some(3)
    message = detection_array(detections, CLASSES, CAMERA, HEADER)
    assert message.header == HEADER
    assert [d.results[0].hypothesis.class_id for d in message.detections] == [
        "Car",
        "Pedestrian",
        "Car",
    ]
    for i, found in enumerate(message.detections):
        (result,) = found.results
        assert found.header == HEADER
        assert result.hypothesis.score == detections.score[i]
        assert result.pose.pose == found.bbox.center
        np.testing.assert_array_equal(vector(found.bbox.center.position), detections.center[i])
        np.testing.assert_array_equal(vector(found.bbox.size), detections.size[i])


def test_messages_of_a_pool_say_what_new_ones_would():
    pool = []
    for detections in (some(2), some(5)[2:], some(5), some(0), some(1)):
        message = detection_array(detections, CLASSES, CAMERA, HEADER, pool)
        assert message == detection_array(detections, CLASSES, CAMERA, HEADER)
    assert len(pool) == 5


def test_box_of_the_message_has_the_corners_of_the_detection():
    detections = some(5)
    signs = np.array([(x, y, z) for z in (-1, 1) for x, y in ((1, 1), (1, -1), (-1, -1), (-1, 1))])
    expected = detections.center[:, None] + corner_offsets(
        detections.size, detections.yaw, CAMERA.level
    )
    for i, found in enumerate(detection_array(detections, CLASSES, CAMERA, HEADER).detections):
        center = found.bbox.center
        body = signs * vector(found.bbox.size) / 2
        corners = body @ rotation(center.orientation).T + vector(center.position)
        distances = np.linalg.norm(corners[:, None] - expected[i], axis=-1)
        np.testing.assert_allclose(distances.min(1), 0, atol=1e-5)
        assert sorted(distances.argmin(1)) == list(range(8))


def test_box_that_faces_away_points_along_the_optical_axis_with_its_top_up():
    detections = some(1)
    detections.yaw[0] = -math.pi / 2
    (found,) = detection_array(detections, CLASSES, CAMERA, HEADER).detections
    forward, _, up = rotation(found.bbox.center.orientation).T
    np.testing.assert_allclose(forward, [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(up, [0, -1, 0], atol=1e-6)


def test_covariance_puts_yaw_on_the_turn_about_the_camera_y_axis():
    detections = some(2)
    for i, found in enumerate(detection_array(detections, CLASSES, CAMERA, HEADER).detections):
        covariance = found.results[0].pose.covariance.reshape(6, 6)
        kept = np.ix_([0, 1, 2, 4], [0, 1, 2, 4])
        np.testing.assert_allclose(covariance[kept], detections.covariance[i], rtol=1e-6)
        np.testing.assert_allclose(
            covariance[[3, 5]], math.pi**2 * np.eye(6)[[3, 5]], err_msg="roll and pitch"
        )
        assert np.isfinite(np.linalg.inv(covariance)).all()


def test_keypoint_detection_carries_what_the_network_saw():
    detections = some(2)
    message = keypoint_array(detections, CLASSES, CAMERA, HEADER)
    np.testing.assert_array_equal(message.k, [700, 0, 640, 0, 710, 192, 0, 0, 1])
    for i, found in enumerate(message.objects):
        assert found.class_id == CLASSES[i]
        np.testing.assert_array_equal(found.keypoints, detections.keypoints[i].flatten())
        np.testing.assert_array_equal(found.box2d, detections.box2d[i])
        for name in (
            "score",
            "peak_score",
            "confidence",
            "depth_error",
            "alpha",
            "yaw",
            "reprojection_error",
        ):
            assert getattr(found, name) == pytest.approx(float(getattr(detections, name)[i]))


def test_no_objects_give_empty_arrays_and_clear_the_markers():
    none = some(0)
    assert detection_array(none, CLASSES, CAMERA, HEADER).detections == []
    assert keypoint_array(none, CLASSES, CAMERA, HEADER).objects == []
    (only,) = marker_array(none, CLASSES, CAMERA, HEADER, lifetime=0.5).markers
    assert only.action == Marker.DELETEALL


def test_picture_becomes_a_bgr8_message():
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    message = image_message(picture[:, ::-1], HEADER)
    assert (message.height, message.width, message.step) == (2, 4, 12)
    assert message.encoding == "bgr8"
    assert bytes(message.data) == picture[:, ::-1].tobytes()


def test_markers_are_deleted_first_and_do_not_outlive_the_stream():
    first, *rest = marker_array(some(2), CLASSES, CAMERA, HEADER, lifetime=1.25).markers
    assert first.action == Marker.DELETEALL
    assert [marker.ns for marker in rest] == ["box", "heading", "label"] * 2
    assert [marker.id for marker in rest] == [0, 0, 0, 1, 1, 1]
    for marker in rest:
        assert marker.header == HEADER
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 250_000_000)


def test_markers_show_class_by_colour_and_score_by_opacity():
    detections = some(4)
    boxes = [
        m for m in marker_array(detections, CLASSES, CAMERA, HEADER, 1.0).markers if m.ns == "box"
    ]
    colours = [(m.color.r, m.color.g, m.color.b) for m in boxes]
    assert colours[0] == colours[2] != colours[1]
    by_score = detections.score.argsort().tolist()
    opacity = [boxes[i].color.a for i in by_score]
    assert opacity == sorted(opacity)
    assert all(0 < alpha <= 1 for alpha in opacity)


def test_label_stands_above_the_box_and_names_class_score_and_distance():
    detections = some(1)
    detections.center[0] = (3.0, 0.0, 4.0)
    detections.score[0] = 0.75
    *_, label = marker_array(detections, CLASSES, CAMERA, HEADER, 1.0).markers
    assert label.text == "Car 0.75  5.0 m"
    assert label.pose.position.y < -detections.size[0, 2] / 2
