"""km3d_tracker.launch.py, started by `ros2 launch` where that is installed."""

import pytest
import yaml
from rcl_interfaces.srv import GetParameters
from support.launching import PATIENCE, launched

pytest.importorskip("ros2launch")


def parameters(peer, *names: str) -> list:
    request = GetParameters.Request(names=names)
    return peer.call(GetParameters, "/km3d_tracker/get_parameters", request).values


def test_two_cameras_and_the_odometry_have_the_given_topics(peer):
    arguments = ("inputs:=/front/detections,/left/detections", "odometry:=/wheels/odometry")
    frames = ("base_frame:=base_link", "ground_frame:=ground")
    with launched("km3d_tracker.launch.py", *arguments, *frames) as process:
        peer.wait_until_active("/km3d_tracker")
        for topic in ("/front/detections", "/left/detections", "/wheels/odometry"):
            peer.wait_until(lambda topic=topic: peer.node.count_subscribers(topic) == 1)
        base_frame, ground_frame = parameters(peer, "base_frame", "ground_frame")
        assert base_frame.string_value == "base_link"
        assert ground_frame.string_value == "ground"
    assert process.returncode == 0


def test_arguments_that_are_not_given_leave_the_parameter_file_its_say(peer, tmp_path):
    file = tmp_path / "mine.yaml"
    mine = {"inputs": ["/lidar/boxes"], "autostart": False}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": mine}}))
    with launched("km3d_tracker.launch.py", f"params_file:={file}"):
        inputs, autostart = parameters(peer, *mine)
        assert inputs.string_array_value == ["/lidar/boxes"]
        assert autostart.bool_value is False
        assert peer.state("/km3d_tracker") == "unconfigured"


def test_text_that_looks_like_a_number_reaches_the_node_as_it_is(peer):
    with launched("km3d_tracker.launch.py", "autostart:=false", "base_frame:=7"):
        (base_frame,) = parameters(peer, "base_frame")
    assert base_frame.string_value == "7"


def test_parameter_file_that_is_missing_is_refused(capfd):
    with launched("km3d_tracker.launch.py", "params_file:=mine.yaml") as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "params_file is 'mine.yaml': no such file" in capfd.readouterr().out
