import pytest
import yaml
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from support.camera_bags import image, info
from support.ros1_bags import record_ros1

from km3d_ros.bag.ros1_file import Ros1Reader
from km3d_ros.errors import InputError

ENTRIES = [("/cam/camera_info", info(0), 5), ("/cam/image_raw", image(0), 9)]


def test_messages_are_those_of_ros_2(tmp_path):
    spots = []
    path = record_ros1(tmp_path / "a.bag", ENTRIES, latched=["/cam/camera_info"])
    messages = list(Ros1Reader(path, spots.append))
    assert spots == []
    assert [(m.topic.name, m.topic.type, m.time) for m in messages] == [
        ("/cam/camera_info", "sensor_msgs/msg/CameraInfo", 5),
        ("/cam/image_raw", "sensor_msgs/msg/Image", 9),
        ("/wheel", "own/msg/Wheel", 9),
    ]
    assert list(deserialize_message(messages[0].data, CameraInfo).k) == list(info(0).k)
    assert deserialize_message(messages[1].data, Image) == image(0)
    assert "float32 speed" in messages[2].topic.definition


def test_bag_that_was_cut_is_named_with_what_repairs_it(tmp_path):
    path = record_ros1(tmp_path / "a.bag", ENTRIES)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"a\.bag is not a readable bag: .*`rosbag reindex` may"):
        list(Ros1Reader(path, print))


def test_latched_topics_stay_with_those_that_come_late(tmp_path):
    path = record_ros1(tmp_path / "a.bag", ENTRIES, latched=["/cam/camera_info"])
    first, second, *_ = Ros1Reader(path, print)
    assert yaml.safe_load(first.topic.qos)[0]["durability"] == 1
    assert second.topic.qos == ""
