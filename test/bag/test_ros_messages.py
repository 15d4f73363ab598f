import os
from array import array

import numpy as np
import pytest
from km3d_ros.msg import KeypointDetection, KeypointDetectionArray
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, Detection3DArray

from km3d_ros import bag
from km3d_ros.errors import InputError

START = 1_700_000_000_000_000_000
PERIOD = 50_000_000
BAGS = [("one.mcap", {}), ("folder", {"storage": "mcap"}), ("folder", {"storage": "sqlite3"})]


def header(i):
    stamp = START + i * PERIOD
    result = Header(frame_id="front")
    result.stamp.sec, result.stamp.nanosec = divmod(stamp, 10**9)
    return result


def messages(i):
    """One frame of a small camera: topic, message."""
    data = array("B", bytes([i] * 24))
    keypoints = np.arange(18, dtype=np.float32) + i
    return {
        "camera_info": CameraInfo(header=header(i), width=4, height=2),
        "image": Image(header=header(i), width=4, height=2, step=12, encoding="bgr8", data=data),
        "km3d/detections": Detection3DArray(header=header(i), detections=[Detection3D()] * i),
        "km3d/objects": KeypointDetectionArray(
            header=header(i), objects=[KeypointDetection(class_id="Car", keypoints=keypoints)]
        ),
    }


def write(path, frames, topics=None, **options):
    with bag.BagWriter(path, **options) as writer:
        for i in range(frames):
            for topic, message in messages(i).items():
                if topics is None or topic in topics:
                    writer.write(topic, message, START + i * PERIOD)


@pytest.mark.parametrize(("name", "options"), BAGS)
def test_bag_gives_back_what_was_written(tmp_path, name, options):
    write(tmp_path / name, 3, **options)
    found = list(bag.read_bag(tmp_path / name))
    expected = [
        (topic, message, START + i * PERIOD)
        for i in range(3)
        for topic, message in messages(i).items()
    ]
    assert [tuple(entry) for entry in found] == expected


@pytest.mark.parametrize(("name", "options"), BAGS)
def test_independent_reader_knows_our_types_from_the_bag_alone(tmp_path, name, options):
    write(tmp_path / name, 3, **options)
    with AnyReader([tmp_path / name]) as reader:
        last = {c.topic: reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()}
    assert len(last["km3d/detections"].detections) == 2
    assert last["km3d/objects"].header.frame_id == "front"
    np.testing.assert_array_equal(last["km3d/objects"].objects[0].keypoints, np.arange(18) + 2)


def test_reading_named_topics_leaves_out_the_others(tmp_path):
    write(tmp_path / "one.mcap", 2)
    topics = [entry.topic for entry in bag.read_bag(tmp_path / "one.mcap", ["image"])]
    assert topics == ["image", "image"]


def test_single_file_replaces_an_earlier_one_and_leaves_nothing_beside_it(tmp_path):
    for frames in (3, 1):
        write(tmp_path / "one.mcap", frames, topics=["image"])
    assert len(list(bag.read_bag(tmp_path / "one.mcap"))) == 1
    assert os.listdir(tmp_path) == ["one.mcap"]


def test_failed_writing_keeps_the_earlier_file(tmp_path):
    write(tmp_path / "one.mcap", 2, topics=["image"])
    with pytest.raises(ZeroDivisionError), bag.BagWriter(tmp_path / "one.mcap") as writer:
        writer.write("image", Image(), 1 // 0)
    assert len(list(bag.read_bag(tmp_path / "one.mcap"))) == 2
    assert os.listdir(tmp_path) == ["one.mcap"]


def test_existing_folder_is_not_overwritten(tmp_path):
    with pytest.raises(InputError, match="exists already"):
        bag.BagWriter(tmp_path)


def test_missing_and_broken_bags_are_named(tmp_path):
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag at all")
    for path in (broken, tmp_path / "missing"):
        with pytest.raises(InputError, match=path.name):
            list(bag.read_bag(path))


def test_types_that_are_not_installed_are_named():
    with pytest.raises(InputError, match="lost_msgs/msg/Thing"):
        bag.message_class("lost_msgs/msg/Thing")
