"""The topic /tf_static."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription

from km3d_ros.errors import InputError
from km3d_ros.frames.static_transforms import STATIC_TRANSFORMS

# Several publishers may send one message per transform, all of them at once to a new subscription.
_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def subscribe_to_static_transforms(node: Node, callback: Callable[[Any], None]) -> Subscription:
    """Subscribe to the static transforms, including those that were published earlier.

    A listener of tf2_ros is not used, because it also deserialises every message on /tf.

    callback: receives each tf2_msgs/TFMessage, in the executor's thread.

    Raises:
        InputError: tf2_msgs is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        raise InputError("base_frame needs the ROS package tf2_msgs") from None
    return node.create_subscription(TFMessage, STATIC_TRANSFORMS[0], callback, _QOS)
