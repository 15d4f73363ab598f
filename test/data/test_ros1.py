import numpy as np
import pytest
from support.camera_bags import image, info
from support.cameras import LENSES
from support.ros1_bags import TYPES, as_ros1, header

from km3d_ros.data.ros1 import Ros1Converter


@pytest.fixture
def convert():
    return Ros1Converter(TYPES)


def converted(convert, name, message):
    data = TYPES.serialize_ros1(message, name)
    return convert.types.deserialize_cdr(convert(name, data), convert.type_of(name))


def test_image_and_camera_info_become_those_of_ros_2(convert):
    original = image(3)
    result = converted(convert, *as_ros1(original))
    assert (result.header.stamp.sec, result.header.frame_id) == (1_700_000_003, "front")
    np.testing.assert_array_equal(result.data, np.asarray(original.data))
    original = info(3, lens=LENSES["plumb_bob"])
    result = converted(convert, *as_ros1(original))
    for field in "dkrp":
        np.testing.assert_array_equal(getattr(result, field), getattr(original, field))
    assert (result.width, result.height, result.distortion_model) == (160, 96, "plumb_bob")


def test_type_that_ros_2_does_not_have_keeps_its_fields(convert):
    due = TYPES.types["builtin_interfaces/msg/Time"](8, 9)
    wheel = TYPES.types["own/msg/Wheel"](header(image(1)), 2.5, due)
    result = converted(convert, "own/msg/Wheel", wheel)
    assert (result.speed, result.due.sec, result.due.nanosec) == (2.5, 8, 9)
    assert (result.header.frame_id, result.header.stamp.sec) == ("front", 1_700_000_001)
    assert not hasattr(result.header, "seq")


def test_damaged_message_is_no_message(convert):
    with pytest.raises(Exception):  # noqa: B017, PT011 - rosbags has no common class
        convert("sensor_msgs/msg/Image", b"\0\1\2")
