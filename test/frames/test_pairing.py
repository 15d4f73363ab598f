from itertools import permutations

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

from km3d_ros.frames.pairing import REMEMBERED, Pairer, RecordedInfos


def stamped(message, sec, frame_id="camera"):
    message.header.stamp.sec = sec
    message.header.frame_id = frame_id
    return message


def image(sec, frame_id="camera"):
    return stamped(Image(), sec, frame_id)


def info(sec, frame_id="camera"):
    return stamped(CameraInfo(), sec, frame_id)


def paired(frames):
    """(image stamp, info stamp or None, exact) of each frame."""
    return [
        (f.image.header.stamp.sec, f.info and f.info.header.stamp.sec, f.exact) for f in frames
    ]


@pytest.fixture
def pairer():
    return Pairer()


def test_image_is_paired_with_the_info_of_its_stamp(pairer):
    for sec in (1, 2, 3):
        assert pairer.add_info(info(sec)) == []
    assert paired(pairer.add_image(image(2), 0.0)) == [(2, 2, True)]


def test_stamps_are_compared_to_the_nanosecond(pairer):
    late = info(1)
    late.header.stamp.nanosec = 1
    pairer.add_info(late)
    assert pairer.add_image(image(1), 0.0) == []


def test_image_waits_for_the_info_of_its_stamp(pairer):
    pairer.add_info(info(1))
    assert pairer.add_image(image(2), 0.0) == []
    assert paired(pairer.add_info(info(2))) == [(2, 2, True)]


def test_newer_info_of_the_same_frame_ends_the_wait(pairer):
    pairer.add_image(image(2), 0.0)
    assert pairer.add_info(info(1)) == []
    assert pairer.add_info(info(3, "rear")) == []
    assert paired(pairer.add_info(info(4))) == [(2, 4, False)]


def test_next_image_ends_the_wait_with_the_newest_info_of_the_same_frame(pairer):
    for message in (info(1), info(2), info(3, "rear")):
        pairer.add_info(message)
    pairer.add_image(image(5), 0.0)
    assert paired(pairer.add_image(image(6), 0.0)) == [(5, 2, False), (6, 2, False)]


def test_image_without_any_info_comes_out_alone(pairer):
    pairer.add_info(info(1, "rear"))
    pairer.add_image(image(2), 0.0)
    assert paired(pairer.add_image(image(3), 0.0)) == [(2, None, False)]


def test_camera_whose_stamps_never_match_is_not_waited_for(pairer):
    pairer.add_info(info(1))
    pairer.add_image(image(2), 0.0)
    pairer.add_info(info(3))
    assert paired(pairer.add_image(image(4), 0.0)) == [(4, 3, False)]
    assert paired(pairer.add_image(image(6), 0.0)) == [(6, 3, False)]


def test_camera_whose_stamps_match_again_is_waited_for(pairer):
    pairer.add_image(image(1), 0.0)
    assert paired(pairer.add_info(info(2))) == [(1, 2, False)]
    assert paired(pairer.add_image(image(3), 0.0)) == [(3, 2, False)]
    pairer.add_info(info(3))
    assert pairer.add_image(image(4), 0.0) == []
    assert paired(pairer.add_info(info(4))) == [(4, 4, True)]


def test_waiting_image_is_released_by_age(pairer):
    pairer.add_info(info(1))
    pairer.add_image(image(2), received=10.0)
    assert pairer.flush(received_before=10.0) == []
    assert paired(pairer.flush(received_before=10.1)) == [(2, 1, False)]
    assert pairer.flush() == []


def test_time_that_jumps_back_pairs_as_before(pairer):
    for sec in (8, 9, 1, 2):
        pairer.add_info(info(sec))
        assert paired(pairer.add_image(image(sec), 0.0)) == [(sec, sec, True)]


def test_only_the_newest_infos_are_remembered(pairer):
    for sec in range(REMEMBERED + 1):
        pairer.add_info(info(sec))
    assert pairer.add_image(image(0), 0.0) == []
    assert paired(pairer.flush()) == [(0, REMEMBERED, False)]


def test_every_image_comes_out_exactly_once():
    steps = [("image", 1), ("info", 1), ("image", 2), ("info", 2), ("image", 3), ("info", 4)]
    for order in permutations(steps):
        pairer, out = Pairer(), []
        for kind, sec in order:
            out += (
                pairer.add_image(image(sec), 0.0)
                if kind == "image"
                else pairer.add_info(info(sec))
            )
        out += pairer.flush()
        assert sorted(frame.image.header.stamp.sec for frame in out) == [1, 2, 3]


def recorded(*entries, **options):
    """The CameraInfo messages of (stamp, frame_id), recorded when they were stamped."""
    return RecordedInfos(
        ((sec, serialize_message(info(sec, frame_id))) for sec, frame_id in entries),
        lambda data: deserialize_message(data, CameraInfo),
        **options,
    )


def test_recorded_image_gets_the_info_of_its_stamp_else_the_newest_of_its_frame():
    known = recorded((1, "camera"), (4, "camera"), (2, "other"))
    cases = {
        (1, "camera"): (1, True),
        (2, "camera"): (2, True),  # the stamp decides, as in the node
        (3, "camera"): (1, False),
        (5, "camera"): (4, False),
        (0, "camera"): (1, False),  # none had been recorded: the first one
        (5, "other"): (2, False),
    }
    for (sec, frame_id), (expected, exact) in cases.items():
        found, same_stamp = known.find(image(sec, frame_id), sec)
        assert (found.header.stamp.sec, same_stamp) == (expected, exact)
    assert known.find(image(5, "unknown"), 5) == (None, False)


def test_recorded_image_of_another_frame_gets_an_info_where_that_is_allowed():
    known = recorded((1, "camera"), (4, "camera"), same_frame=False)
    assert known.find(image(3, "unknown"), 3)[0].header.stamp.sec == 1


def test_recorded_info_that_cannot_be_deserialised_is_left_out():
    messages = [(0, b"\0\1\0\0"), (0, serialize_message(info(0)))]
    known = RecordedInfos(messages, lambda data: deserialize_message(data, CameraInfo))
    assert known.find(image(5), 5)[0] == info(0)
