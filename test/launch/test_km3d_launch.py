"""km3d.launch.py, started by `ros2 launch` where that is installed, and what comes up."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from support.launching import LAUNCH, PATIENCE, launched

from km3d_ros.geometry.level import angles_of, level_from_mount

pytest.importorskip("ros2launch")


def parameters(peer, node: str, *names: str) -> list:
    request = GetParameters.Request(names=names)
    return peer.call(GetParameters, f"{node}/get_parameters", request).values


def test_one_camera_has_the_given_topics_and_settings(peer, weights):
    topics = ("image:=/cam/image_rect", "camera_info:=/cam/camera_info")
    settings = ("device:=cpu", "rectified:=false", f"weights:={weights}")
    with launched("km3d.launch.py", "namespace:=front", *topics, *settings) as process:
        peer.wait_until_active("/front/km3d")
        for topic in ("/cam/image_rect", "/cam/camera_info"):
            peer.wait_until(lambda topic=topic: peer.node.count_subscribers(topic) == 1)
        names = ("device", "weights", "rectified", "use_sim_time", "cameras")
        values = parameters(peer, "/front/km3d", *names)
        assert [value.string_value for value in values[:2]] == ["cpu", str(weights)]
        assert [value.bool_value for value in values[2:4]] == [False, False]
        assert values[4].string_array_value == [""]
    assert process.returncode == 0


def test_arguments_that_are_not_given_leave_the_parameter_file_its_say(peer, weights, tmp_path):
    file = tmp_path / "mine.yaml"
    mine = {"weights": str(weights), "rectified": False, "cameras": ["a", "b"]}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": mine}}))
    with launched("km3d.launch.py", f"params_file:={file}"):
        peer.wait_until_active("/km3d")
        values = parameters(peer, "/km3d", *mine)
        assert values[0].string_value == str(weights)
        assert values[1].bool_value is False
        assert values[2].string_array_value == ["a", "b"]


def test_node_waits_for_transitions_and_logs_more_on_request(peer, weights, capfd):
    with launched("km3d.launch.py", "autostart:=false", "log_level:=debug", f"weights:={weights}"):
        assert peer.state("/km3d") == "unconfigured"
        (autostart,) = parameters(peer, "/km3d", "autostart")
        assert autostart.bool_value is False
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert peer.call(ChangeState, "/km3d/change_state", request).success
        assert peer.state("/km3d") == "active"
    assert "[DEBUG]" in capfd.readouterr().out


def test_cameras_have_their_names_in_the_given_topics(peer, weights):
    arguments = ("cameras:=[front, rear]", "image:=/{camera}_cam/image", f"weights:={weights}")
    with launched("km3d.launch.py", *arguments, "image_transport:=compressed"):
        peer.wait_until_active("/km3d")
        # The transport's name stands behind the given one; CameraInfo is where nobody moved it.
        topics = (
            "/front_cam/image/compressed",
            "/rear_cam/image/compressed",
            "/front/camera_info",
        )
        for topic in (*topics, "/rear/camera_info"):
            peer.wait_until(lambda topic=topic: peer.node.count_subscribers(topic) == 1)
        subscriptions = peer.node.get_subscriptions_info_by_topic(topics[0])
        assert subscriptions[0].topic_type == "sensor_msgs/msg/CompressedImage"


def test_one_topic_for_several_cameras_is_refused(capfd):
    with launched("km3d.launch.py", "cameras:=front,rear", "image:=/image") as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "image is '/image': several cameras need {camera} in it" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("camera_pitch:=abc", "camera_pitch is 'abc', expected a number"),
        ("camera_roll:=[0.1]", "camera_roll is '[0.1]', expected a number"),
        ("camera_pitch:=nan", "camera_pitch is 'nan', expected a number"),
        ("camera_height:=1,65", "camera_height is '1,65', expected a number"),
        ("autostart:=[", "parameter autostart"),
        ("rviz:=maybe", "got 'maybe'"),
        ("namespace:=a b", "Invalid namespace"),
        ("params_file:=mine.yaml", "params_file is 'mine.yaml': no such file"),
    ],
)
def test_value_that_makes_no_sense_starts_nothing(argument, message, stand_ins, capfd):
    arguments = ("autostart:=false", "camera_frame:=cam", argument)
    with launched("km3d.launch.py", *arguments) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert message in capfd.readouterr().out


def test_texts_that_look_like_yaml_reach_the_node_as_they_are(peer):
    texts = {"weights": "a: b", "device": "[", "base_frame": "7"}
    arguments = (f"{name}:={text}" for name, text in texts.items())
    with launched("km3d.launch.py", "autostart:=false", *arguments):
        values = parameters(peer, "/km3d", *texts)
    assert [value.string_value for value in values] == list(texts.values())


def test_missing_package_starts_nothing(stand_ins, capfd, tmp_path):
    (tmp_path / "stand_ins/share/ament_index/resource_index/packages/rviz2").unlink()
    arguments = ("rviz:=true", "camera_frame:=cam", "autostart:=false")
    with launched("km3d.launch.py", *arguments) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "package 'rviz2' not found" in capfd.readouterr().out
    assert stand_ins("static_transform_publisher") == []


def test_rviz_starts_beside_the_node_with_its_setup_and_frame(peer, weights, stand_ins):
    arguments = ("rviz:=true", "namespace:=alpha", "base_frame:=alpha/base_link")
    with launched("km3d.launch.py", *arguments, f"weights:={weights}"):
        peer.wait_until(lambda: stand_ins("rviz2"))
        peer.wait_until_active("/alpha/km3d")  # launch may miss an end while it starts
    (rviz,) = stand_ins("rviz2")
    assert rviz[0] == "-d"
    assert Path(rviz[1]).samefile(LAUNCH.parent / "rviz" / "km3d.rviz")
    assert rviz[2:4] == ["-f", "alpha/base_link"]
    assert {"__node:=rviz", "__ns:=/alpha"} < set(rviz)


def test_rviz_shows_every_camera(peer, weights, stand_ins):
    arguments = ("rviz:=true", "cameras:=front,rear", f"weights:={weights}")
    with launched("km3d.launch.py", *arguments):
        peer.wait_until(lambda: stand_ins("rviz2"))
        peer.wait_until_active("/km3d")
    (rviz,) = stand_ins("rviz2")
    displays = yaml.safe_load(Path(rviz[1]).read_text())["Visualization Manager"]["Displays"]
    shown = [(d["Name"], d["Topic"]["Value"]) for d in displays if "Topic" in d]
    assert shown[:2] == [
        ("Boxes: front", "km3d/front/markers"),
        ("Boxes: rear", "km3d/rear/markers"),
    ]
    # One display of the tracks, in which all cameras are.
    assert len(shown) == 2 * 4 + 1
    assert ("Tracks", "km3d_tracker/markers") in shown
    assert sum("Topic" not in display for display in displays) == 2


def test_camera_looks_straight_ahead_from_the_given_height(peer, weights, stand_ins):
    arguments = ("camera_frame:=cam", "camera_height:=1.2", f"weights:={weights}")
    with launched("km3d.launch.py", *arguments):
        peer.wait_until(lambda: stand_ins("static_transform_publisher"))
        peer.wait_until_active("/km3d")
    (given,) = stand_ins("static_transform_publisher")
    values = dict(zip(given[0:10:2], given[1:10:2], strict=True))
    assert values.pop("--roll") == values.pop("--yaw") == "-1.5707963267948966"
    assert values == {"--frame-id": "base_link", "--child-frame-id": "cam", "--z": "1.2"}


def test_pitch_and_roll_reach_the_node_or_the_transform(peer, weights, stand_ins):
    tilt = ("camera_pitch:=0.1", "camera_roll:=-0.05")
    frames = ("camera_frame:=cam", "base_frame:=car", "fixed_frame:=map", "rviz:=true")
    names = ("base_frame", "camera_pitch", "camera_roll")
    with launched("km3d.launch.py", *tilt, f"weights:={weights}"):
        peer.wait_until_active("/km3d")
        frame, *angles = parameters(peer, "/km3d", *names)
    assert frame.string_value == ""
    assert [angle.double_value for angle in angles] == [0.1, -0.05]
    with launched("km3d.launch.py", *tilt, *frames, f"weights:={weights}"):
        peer.wait_until(lambda: stand_ins("static_transform_publisher") and stand_ins("rviz2"))
        peer.wait_until_active("/km3d")
        frame, *angles = parameters(peer, "/km3d", *names)
    assert frame.string_value == "car"
    assert [angle.double_value for angle in angles] == [0.0, 0.0]
    (given,) = stand_ins("static_transform_publisher")
    values = dict(zip(given[0:12:2], given[1:12:2], strict=True))
    assert values["--frame-id"] == "car"
    names = ("--roll", "--pitch", "--yaw")
    x, y, z = (
        cv2.Rodrigues(axis * float(values[name]))[0]
        for axis, name in zip(np.eye(3), names, strict=True)
    )
    mount = z @ y @ x
    assert angles_of(level_from_mount(mount)) == pytest.approx((0.1, -0.05))
    assert mount[:, 2] == pytest.approx((np.cos(0.1), 0, -np.sin(0.1)))  # ahead, not aside
    (rviz,) = stand_ins("rviz2")
    assert rviz[2:4] == ["-f", "map"]
