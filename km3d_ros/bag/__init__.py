"""Bags (recordings of ROS topics): reading, writing, and detecting in them.

A bag is a rosbag2 folder of MCAP or sqlite3 files, or a single `.mcap` or `.db3` file. `ros2 bag`,
Foxglove and rosbags read them. ROS 1 bags are read, too.
"""

from km3d_ros.bag.ros_messages import (
    BagMessage,
    BagWriter,
    message_class,
    read_bag,
    type_store,
)

__all__ = ["BagMessage", "BagWriter", "message_class", "read_bag", "type_store"]
