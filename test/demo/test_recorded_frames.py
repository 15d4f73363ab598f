from dataclasses import fields

import numpy as np
import pytest
from km3d_ros.msg import ClassProbability, TrackedObject, TrackedObjectArray
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from km3d_ros.bag import BagWriter, read_bag
from km3d_ros.demo import topics
from km3d_ros.demo.drive import camera_info
from km3d_ros.demo.recorded_frames import read_answers
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.node.messages import detection_array, image_message, keypoint_array

CLASSES = ("Car", "Pedestrian", "Cyclist")
PROJECTION = np.array([[700.0, 0, 30, 42], [0, 710, 12, 0], [0, 0, 1, 0.003]])
PIXELS = np.arange(24 * 60 * 3, dtype=np.uint8).reshape(24, 60, 3)
CAMERA = CameraModel.from_projection(PROJECTION, 60, 24)


def detections(count):
    generator = np.random.default_rng(count)

    def random(*shape):
        return generator.random((count, *shape), np.float32)

    columns = {f.name: random() for f in fields(Detections)}
    columns |= {"box2d": random(4), "keypoints": random(9, 2), "covariance": random(4, 4)}
    columns["covariance"] += columns["covariance"].swapaxes(1, 2)  # symmetric
    columns |= {"size": random(3), "center": random(3), "class_index": np.arange(count) % 3}
    return Detections(**columns)


def record(path, counts):
    """A recording with so many objects in each frame; None: the frame was not answered."""
    with BagWriter(path) as writer:
        for second, count in enumerate(counts):
            header = Header(frame_id="camera")
            header.stamp.sec, header.stamp.nanosec = second, 5
            writer.write(topics.CAMERA_INFO, camera_info(header, PROJECTION, 60, 24), second)
            writer.write(topics.IMAGE, image_message(PIXELS + np.uint8(second), header), second)
            if count is not None:
                found = detections(count)
                messages = {
                    topics.DETECTIONS: detection_array(found, CLASSES, CAMERA, header),
                    topics.OBJECTS: keypoint_array(found, CLASSES, CAMERA, header),
                }
                for topic, message in messages.items():
                    writer.write(topic, message, second + 1)


def test_answers_read_back_are_what_the_messages_were_made_from(tmp_path):
    record(tmp_path / "drive.mcap", [4, 0])
    answers = read_answers(tmp_path / "drive.mcap", CLASSES)
    for second, (answer, count) in enumerate(zip(answers, [4, 0], strict=True)):
        assert answer.stamp == second * 10**9 + 5
        np.testing.assert_array_equal(answer.image, PIXELS + np.uint8(second))
        np.testing.assert_allclose(answer.camera.intrinsics, CAMERA.intrinsics)
        np.testing.assert_allclose(answer.camera.translation, CAMERA.translation)
        expected = detections(count)
        for column in fields(Detections):
            np.testing.assert_array_equal(
                getattr(answer.detections, column.name), getattr(expected, column.name)
            )


def test_tracks_are_in_the_camera_frame_with_trails_of_where_they_were(tmp_path):
    """The vehicle drives 1 m and turns left; the camera is 1.65 m above it."""
    path = tmp_path / "drive.mcap"
    record(path, [0, 0])
    with BagWriter(tmp_path / "tracked.mcap") as writer:
        for topic, message, time in read_bag(path):
            writer.write(topic, message, time)
        for second, turn in enumerate((0.0, np.pi / 2)):
            header = Header(frame_id="odom")
            header.stamp.sec, header.stamp.nanosec = second, 5
            moved = Odometry(header=header, child_frame_id="base_link")
            moved.pose.pose.position.x = float(second)
            moved.pose.pose.orientation.z = np.sin(turn / 2)
            moved.pose.pose.orientation.w = np.cos(turn / 2)
            writer.write(topics.ODOMETRY, moved, second + 1)
            entry = TrackedObject(id=4, classes=[ClassProbability(class_id="Cyclist")])
            entry.pose.pose.position.x, entry.pose.pose.position.y = 1.0, 9.0 + second
            entry.twist.twist.linear.y, entry.size.z = 1.0, 1.8
            objects = TrackedObjectArray(header=header, objects=[entry])
            writer.write(topics.TRACKED_OBJECTS, objects, second + 1)
    first, second = read_answers(tmp_path / "tracked.mcap", CLASSES)
    (track,) = first.tracks
    assert (track.number, track.class_index, track.height) == (4, 2, 1.8)
    assert track.center == pytest.approx((-9.0, 1.65, 1.0))
    assert track.velocity == pytest.approx((-1.0, 0.0, 0.0))
    (track,) = second.tracks
    assert track.center == pytest.approx((0.0, 1.65, 10.0))
    assert track.velocity == pytest.approx((0.0, 0.0, 1.0))
    np.testing.assert_allclose(track.trail, [(0, 1.65, 9), (0, 1.65, 10)], atol=1e-6)


def test_unanswered_frames_are_left_out(tmp_path):
    record(tmp_path / "drive.mcap", [1, None, 2])
    stamps = [answer.stamp // 10**9 for answer in read_answers(tmp_path / "drive.mcap", CLASSES)]
    assert stamps == [0, 2]
