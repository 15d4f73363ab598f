"""demo.launch.py, started by `ros2 launch` where that is installed."""

import pytest
from support.launching import launched
from vision_msgs.msg import Detection3DArray

from km3d_ros.demo.drive import FRAME_ID

pytest.importorskip("ros2launch")


def test_demo_plays_a_drive_that_the_node_answers(peer):
    answers = peer.listen(Detection3DArray, "/km3d/detections")
    with launched("demo.launch.py", "frames:=3"):
        # Frames before the last one may be overtaken on a busy machine.
        peer.wait_until(lambda: answers and answers[-1].header.stamp.nanosec == 200_000_000)
    assert {answer.header.frame_id for answer in answers} == {FRAME_ID}
