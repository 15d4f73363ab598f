"""The mount of a camera: from a publisher of /tf_static to camera model and diagnostics."""

import math

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from km3d_ros.geometry.box3d import Boxes3D, keypoints, observation_angle
from km3d_ros.geometry.level import level_from_angles, rotation_matrix
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.inference.decode import Objects, locate, pack
from km3d_ros.inference.detector import Detector

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def link(parent, child, x, y, z, w):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return transform


def mount(pitch):
    """A vehicle with a camera, "camera", that looks down by an angle."""
    looks = link("base_link", "body", 0.0, math.sin(pitch / 2), 0.0, math.cos(pitch / 2))
    return TFMessage(transforms=[looks, link("body", "camera", -0.5, 0.5, -0.5, 0.5)])


@pytest.fixture
def transforms(bench):
    """A publisher as that of static_transform_publisher."""
    publisher = bench.peer.create_publisher(TFMessage, "/tf_static", LATCHED)
    yield publisher
    bench.peer.destroy_publisher(publisher)


@pytest.fixture
def cameras(monkeypatch):
    """The camera model of each frame that was detected in."""
    seen = []
    batch = Detector.batch

    def watched(self, images, models):
        seen.extend(models)
        return batch(self, images, models)

    monkeypatch.setattr(Detector, "batch", watched)
    return seen


def totals(bench):
    return bench.node.statistics[""].totals()


def send(bench, stamp):
    """Send a frame; returns when it is answered or dropped."""
    before = totals(bench)
    bench.infos.publish(bench.info(stamp))
    bench.spin_until(lambda: totals(bench).infos > before.infos)
    bench.images.publish(bench.image(stamp))
    done = before.answered + before.dropped.total()
    bench.spin_until(lambda: totals(bench).answered + totals(bench).dropped.total() > done)


def wait_for_mount(bench, stamp, text):
    """Send frames until the diagnostics report a mount; returns the last report."""
    reports = []

    def reported():
        send(bench, stamp + len(reports))
        reports.append(bench.report())
        return reports[-1][2]["mount"] == text

    bench.spin_until(reported)
    return reports[-1]


def test_transform_that_was_published_before_the_node_started_gives_pitch_and_roll(
    bench, transforms, cameras
):
    transforms.publish(mount(0.2))
    bench.start(base_frame="base_link")
    wait_for_mount(bench, 1.0, "pitch 11.5°, roll 0.0°")
    send(bench, 90.0)
    np.testing.assert_allclose(cameras[-1].level, level_from_angles(0.2, 0.0), atol=1e-12)
    level, message, values = bench.report()
    assert (level, values["dropped.no_level"]) == (OK, "0"), message


def test_camera_counts_as_level_with_a_warning_until_the_transform_is_known(
    bench, transforms, cameras
):
    bench.start(base_frame="base_link")
    send(bench, 1.0)
    np.testing.assert_array_equal(cameras[-1].level, np.eye(3))
    level, message, values = bench.report()
    assert (level, values["mount"], values["answered"]) == (WARN, "unknown", "1")
    assert message == (
        "the camera counts as level: no static transform from base_link to camera; "
        "/tf_static has none"
    )
    transforms.publish(mount(0.2))
    level, message, _ = wait_for_mount(bench, 2.0, "pitch 11.5°, roll 0.0°")
    assert level == OK, message


def test_frames_are_dropped_until_a_required_transform_is_known(bench, transforms, cameras):
    bench.start(base_frame="base_link", base_frame_required=True)
    transforms.publish(TFMessage(transforms=[link("base", "camera", -0.5, 0.5, -0.5, 0.5)]))
    send(bench, 1.0)
    level, message, values = bench.report()
    assert (level, values["dropped.no_level"], values["mount"]) == (ERROR, "1", "unknown")
    assert "no static transform from base_link to camera" in message
    assert cameras == []
    transforms.publish(mount(0.2))
    wait_for_mount(bench, 2.0, "pitch 11.5°, roll 0.0°")
    assert len(cameras) >= 1


def test_transform_that_changes_is_used_and_named(bench, transforms, cameras):
    transforms.publish(mount(0.2))
    bench.start(base_frame="base_link")
    wait_for_mount(bench, 1.0, "pitch 11.5°, roll 0.0°")
    transforms.publish(mount(0.1))
    level, message, _ = wait_for_mount(bench, 200.0, "pitch 5.7°, roll 0.0°")
    assert (level, message) == (
        WARN,
        "camera has moved on the vehicle: pitch 11.5°, roll 0.0°, now pitch 5.7°, roll 0.0°",
    )
    send(bench, 400.0)
    np.testing.assert_allclose(cameras[-1].level, level_from_angles(0.1, 0.0), atol=1e-12)
    assert bench.report()[0] == OK


def test_camera_that_comes_to_look_at_the_ground_is_refused_from_then_on(
    bench, transforms, cameras
):
    transforms.publish(mount(0.2))
    bench.start(base_frame="base_link", base_frame_required=True)
    wait_for_mount(bench, 1.0, "pitch 11.5°, roll 0.0°")
    transforms.publish(mount(-1.2))
    wait_for_mount(bench, 200.0, "unknown")
    before = len(cameras)
    send(bench, 400.0)
    level, message, _ = bench.report()
    assert (level, len(cameras)) == (ERROR, before)
    assert "the camera looks 69° above the horizon" in message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        # A strip beside the axis: with this mount it is farther aside than the view.
        ({"k": [1000.0, 0, -800, 0, 1000, 48, 0, 0, 1]}, "sees nothing of the network's view"),
        (
            {"r": level_from_angles(0.0, 0.5).flatten()},  # leans; sees the street all the same
            None,
        ),
        (
            {"r": level_from_angles(0.3, 0.0).flatten()},
            "with R and its mounting, the camera looks 76° below the horizon",
        ),
    ],
    ids=["strip", "leaning", "steep"],
)
def test_camera_info_that_does_not_fit_the_mount_is_dropped_with_its_reason(
    bench, cameras, fields, reason
):
    bench.start(camera_pitch=1.03, rectified=False)
    info = bench.info(1.0)
    for name, value in fields.items():
        setattr(info, name, value)
    bench.infos.publish(info)
    bench.spin_until(lambda: totals(bench).infos)
    bench.images.publish(bench.image(1.0))
    bench.spin_until(lambda: totals(bench).answered + totals(bench).dropped.total())
    level, message, values = bench.report()
    if reason is None:
        assert (level, len(cameras)) == (OK, 1), message
    else:
        assert (level, values["dropped.bad_camera_info"]) == (ERROR, "1")
        assert reason in message


def test_fixed_angles_need_no_transform(bench, cameras):
    node = bench.start(camera_pitch=0.1, camera_roll=-0.02)
    send(bench, 1.0)
    np.testing.assert_array_equal(cameras[-1].level, level_from_angles(0.1, -0.02))
    level, _, values = bench.report()
    assert (level, values["mount"]) == (OK, "pitch 5.7°, roll -1.1°")
    assert "/tf_static" not in {subscription.topic_name for subscription in node.subscriptions}


def test_frame_and_angles_together_fail_to_configure(bench):
    node = bench.create(weights=bench.weights, base_frame="base_link", camera_pitch=0.1)
    assert not node.autostart()
    level, message, _ = bench.report()
    assert level == ERROR
    assert message.startswith(
        "cannot configure: base_frame is 'base_link' and the camera's angles"
    )


def test_subscription_ends_with_the_activity(bench):
    node = bench.start(base_frame="base_link")
    assert node.count_subscribers("/tf_static") == 1
    node.trigger_deactivate()
    bench.spin_until(lambda: node.count_subscribers("/tf_static") == 0)


HEIGHT = 2.5
"""Of the camera above the ground, in metres."""
SIZES = np.array([(4.0, 1.7, 1.5), (1.8, 0.6, 1.7), (6.0, 2.2, 2.6)])
PLACES = np.array([(8.0, 1.0), (15.0, -3.0), (30.0, 4.0)])
"""Ahead and to the left of the camera, in metres."""
YAWS = np.array([0.3, -1.2, 2.5])
"""About the vertical, from the direction ahead of the camera."""


def finding_the_truth(noise):
    """A backend that finds boxes on the ground exactly where a level camera images them."""
    center = np.column_stack((-PLACES[:, 1], HEIGHT - SIZES[:, 2] / 2, PLACES[:, 0]))
    boxes = Boxes3D(*(torch.from_numpy(a).float() for a in (center, SIZES, -YAWS - math.pi / 2)))
    ones = torch.ones(1, len(SIZES))

    def run(inputs):
        pinholes = Pinholes(torch.from_numpy(inputs.projection)[:, None])
        objects = Objects(
            class_index=torch.zeros(1, len(SIZES), dtype=torch.int64),
            peak_score=ones,
            confidence=ones,
            depth_error=0.04 * ones,
            keypoints=pinholes.project(keypoints(boxes)[None]),
            size=boxes.size[None],
            alpha=observation_angle(boxes.yaw, boxes.center[:, 0] / boxes.center[:, 2])[None],
            box2d=torch.zeros(1, len(SIZES), 4),
        )
        return tuple(pack(table).numpy() for table in locate(objects, pinholes, noise))

    return run


@pytest.mark.parametrize(
    ("pitch", "roll", "yaw"), [(0.17, 0.0, 0.0), (-0.1, 0.05, 0.4), (0.35, -0.09, -2.0)]
)
def test_boxes_stand_upright_on_the_ground_of_the_vehicle(
    bench, transforms, monkeypatch, pitch, roll, yaw
):
    turn = Rotation.from_euler("xyz", (roll, pitch, yaw)).as_quat()
    body = link("base_link", "body", *turn)
    body.transform.translation.z = HEIGHT
    transforms.publish(TFMessage(transforms=[body, link("body", "camera", -0.5, 0.5, -0.5, 0.5)]))
    node = bench.start(base_frame="base_link", base_frame_required=True)
    backend = node._detector.choice.backend
    monkeypatch.setattr(backend, "run", finding_the_truth(node._detector.spec.noise))
    messages = bench.listen(Detection3DArray, "/km3d/detections")
    bench.spin_until(lambda: send(bench, 1.0) or messages)

    into_base = rotation_matrix(*turn) @ rotation_matrix(-0.5, 0.5, -0.5, 0.5)
    ahead = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    assert len(messages[0].detections) == 3
    for found, size, place, box_yaw in zip(
        messages[0].detections, SIZES, PLACES, YAWS, strict=True
    ):
        pose = found.bbox.center
        at, turned = pose.position, pose.orientation
        center = into_base @ (at.x, at.y, at.z) + (0, 0, HEIGHT)
        axes = into_base @ rotation_matrix(turned.x, turned.y, turned.z, turned.w)
        assert math.degrees(math.acos(min(axes[2, 2], 1.0))) < 0.1
        bottom = center - axes[:, 2] * size[2] / 2
        assert abs(bottom[2]) < 0.05
        np.testing.assert_allclose(center[:2], ahead @ place, atol=0.05)
        heading = math.atan2(axes[1, 0], axes[0, 0]) - yaw - box_yaw
        assert abs(math.remainder(heading, 2 * math.pi)) < 1e-3
