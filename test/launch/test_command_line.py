"""The commands of the handbook against a launched node, by `ros2` where that is installed."""

import subprocess

import pytest
import yaml
from support.launching import PATIENCE, launched

for package in ("ros2launch", "ros2lifecycle", "ros2param", "ros2topic"):
    pytest.importorskip(package)


def ros2(*arguments: str) -> str:
    """What the command says; asked again until it has found the node."""
    command = ["ros2", *arguments, "--no-daemon", "--spin-time", "1"]
    while True:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        answer = (result.stdout + result.stderr).strip()
        if answer != "Node not found":
            return answer


@pytest.fixture
def node(peer, weights, tmp_path):
    """The name of a node that waits to be configured."""
    file = tmp_path / "wait.yaml"
    mine = {"weights": str(weights), "autostart": False}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": mine}}))
    with launched("km3d.launch.py", f"params_file:={file}"):
        peer.wait_until(lambda: "km3d" in peer.node.get_node_names())
        yield "/km3d"


def test_lifecycle_goes_through_its_states(peer, node):
    assert ros2("lifecycle", "get", node) == "unconfigured [1]"
    for transition, state in (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
        ("shutdown", "finalized"),
    ):
        assert ros2("lifecycle", "set", node, transition) == "Transitioning successful"
        assert peer.state(node) == state


def test_parameters_change_if_they_are_live_and_allowed(node):
    assert ros2("param", "set", node, "score_threshold", "0.5") == "Set parameter successful"
    assert ros2("param", "get", node, "score_threshold") == "Double value is: 0.5"
    assert ros2("param", "set", node, "device", "cpu") == "Set parameter successful"
    assert "expected consistent or published" in ros2("param", "set", node, "grm", "magic")


def test_diagnostics_can_be_read(node):
    answer = ros2("topic", "echo", "--once", "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
    (status,) = next(yaml.safe_load_all(answer))["status"]
    assert (status["name"], status["message"]) == ("km3d: detector", "unconfigured")
