"""Small ROS 1 bags of one camera."""

import numpy as np
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

TYPES = get_typestore(Stores.ROS1_NOETIC)
TYPES.register(get_types_from_msg("Header header\nfloat32 speed\ntime due", "own/msg/Wheel"))


def header(message, seq=7):
    """The ROS 1 header of a ROS 2 message."""
    stamp = message.header.stamp
    time = TYPES.types["builtin_interfaces/msg/Time"](stamp.sec, stamp.nanosec)
    return TYPES.types["std_msgs/msg/Header"](seq, time, message.header.frame_id)


def as_ros1(message):
    """An Image, CompressedImage or CameraInfo of ROS 2 as type name and message of ROS 1."""
    name = f"sensor_msgs/msg/{type(message).__name__}"
    fields = {}
    for field, _ in TYPES.fielddefs[name][1]:
        value = getattr(message, field if hasattr(message, field) else field.lower())
        fields[field] = np.asarray(value) if field in "data D K R P" else value
    fields["header"] = header(message)
    if "roi" in fields:
        fields["roi"] = TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return name, TYPES.types[name](**fields)


def record_ros1(path, entries, latched=()):
    """A bag of (topic, message of ROS 2, nanoseconds), and of a type that ROS 2 does not have."""
    with Writer(path) as writer:
        connections = {}

        def write(topic, name, message, time):
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, name, typestore=TYPES, latching=int(topic in latched)
                )
            writer.write(connections[topic], time, TYPES.serialize_ros1(message, name))

        for topic, message, time in entries:
            write(topic, *as_ros1(message), time)
        due = TYPES.types["builtin_interfaces/msg/Time"](8, 9)
        wheel = TYPES.types["own/msg/Wheel"](header(entries[0][1]), 2.5, due)
        write("/wheel", "own/msg/Wheel", wheel, entries[-1][2])
    return path
