"""Bags, that is recordings of ROS topics: reading, writing, and detecting in them.

Bags are rosbag2 folders (MCAP or sqlite3 inside) or single `.mcap` files, readable by `ros2 bag`,
Foxglove and rosbags.
"""

from km3d_ros.bag.ros_messages import (
    BagMessage,
    BagWriter,
    message_class,
    read_bag,
    type_store,
)

__all__ = ["BagMessage", "BagWriter", "message_class", "read_bag", "type_store"]
