"""The launch file for two vehicles that the handbook shows."""

import re

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from support.launching import LAUNCH, launched

pytest.importorskip("ros2launch")


def test_two_vehicles_live_beside_each_other(peer, tmp_path):
    handbook = (LAUNCH.parent / "docs" / "vehicle.md").read_text()
    (source,) = re.findall(r"```python\n(from launch import .*?)```", handbook, re.DOTALL)
    file = tmp_path / "vehicles.launch.py"
    file.write_text(source)
    reports = peer.listen(DiagnosticArray, "/diagnostics")
    with launched(file) as process:
        for node in ("/alpha/km3d", "/beta/km3d"):
            peer.wait_until_active(node)
        for topic in ("/alpha/image", "/beta/front/image", "/beta/rear/image"):
            peer.wait_until(lambda topic=topic: peer.node.count_subscribers(topic) == 1)
        for topic in ("/alpha/km3d/detections", "/beta/km3d/rear/detections"):
            peer.wait_until(lambda topic=topic: peer.node.count_publishers(topic) == 1)
        names = {"alpha/km3d: detector", "beta/km3d: front", "beta/km3d: rear"}
        peer.wait_until(lambda: {s.name for report in reports for s in report.status} == names)
    assert process.returncode == 0
