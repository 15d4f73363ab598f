"""demo.launch.py, started by `ros2 launch` where that is installed."""

import pytest
from support.launching import launched
from vision_msgs.msg import Detection3DArray

from km3d_ros.demo.topics import FRAME_ID

pytest.importorskip("ros2launch")


def test_demo_plays_a_drive_that_the_node_answers_and_rviz_can_show(peer, stand_ins):
    answers = peer.listen(Detection3DArray, "/km3d/detections")
    with launched("demo.launch.py", "frames:=3", "rviz:=true"):
        # Not of all frames: on a busy machine some are overtaken, or end with their publisher.
        peer.wait_until(lambda: answers)
    assert {answer.header.frame_id for answer in answers} == {FRAME_ID}
    (pose,) = stand_ins("static_transform_publisher")
    assert pose[pose.index("--child-frame-id") + 1] == FRAME_ID
    assert len(stand_ins("rviz2")) == 1
