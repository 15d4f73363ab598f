"""demo.launch.py, started by `ros2 launch` where that is installed."""

import pytest
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.qos import DurabilityPolicy, QoSProfile
from support.launching import launched
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from km3d_ros.demo.topics import BASE_FRAME, FRAME_ID

pytest.importorskip("ros2launch")


def test_demo_plays_a_drive_that_both_nodes_answer_and_rviz_can_show(peer, stand_ins):
    detections = peer.listen(Detection3DArray, "/km3d/detections")
    tracks = peer.listen(Detection3DArray, "/km3d_tracker/tracks")
    moves = peer.listen(TFMessage, "/tf")
    # In the place of static_transform_publisher, which is a stand-in here.
    mount = TransformStamped(child_frame_id=FRAME_ID)
    mount.header.frame_id = BASE_FRAME
    mount.transform.translation = Vector3(z=1.65)
    mount.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.node.create_publisher(TFMessage, "/tf_static", qos).publish(TFMessage(transforms=[mount]))
    with launched("demo.launch.py", "frames:=10", "rviz:=true"):
        # Not of all frames: on a busy machine some are overtaken, or end with their publisher.
        peer.wait_until(lambda: detections and tracks and moves)
    assert {message.header.frame_id for message in detections} == {FRAME_ID}
    # The tracker has odometry: it tracks in the frame that does not move.
    assert {message.header.frame_id for message in tracks} == {"odom"}
    (move,) = moves[0].transforms
    assert (move.header.frame_id, move.child_frame_id) == ("odom", BASE_FRAME)
    (pose,) = stand_ins("static_transform_publisher")
    assert pose[pose.index("--child-frame-id") + 1] == FRAME_ID
    assert len(stand_ins("rviz2")) == 1
