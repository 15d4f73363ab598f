"""Recordings of ROS topics: writing, reading, recording and playing them, detecting in them.

Bags are rosbag2 folders (MCAP or sqlite3 inside) or single `.mcap` files, readable by
`ros2 bag`, Foxglove and rosbags. Played over DDS in a process of its own:

    python -m km3d_ros.bag play BAG [--rate 1.0] [--subscribers N] [--log FILE]
"""

from km3d_ros.bag.files import BagMessage, BagWriter, message_class, read_bag, type_store
from km3d_ros.bag.player import Recorder, play

__all__ = [
    "BagMessage",
    "BagWriter",
    "Recorder",
    "message_class",
    "play",
    "read_bag",
    "type_store",
]
