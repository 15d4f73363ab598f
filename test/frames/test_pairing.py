from itertools import permutations

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

from km3d_ros.frames.pairing import REMEMBERED, Pairer, recorded_infos


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
    for sec in range(1, REMEMBERED + 2):
        pairer.add_info(info(sec))
    assert pairer.add_image(image(1), 0.0) == []
    assert paired(pairer.flush()) == [(1, REMEMBERED + 1, False)]


def test_simulation_that_began_again_waits_for_its_own_infos(pairer):
    for sec in (1, 2, 3):
        pairer.add_info(info(sec))
        pairer.add_image(image(sec), 0.0)
    assert pairer.add_image(image(1), 0.0) == []
    own = info(1)
    (frame,) = pairer.add_info(own)
    assert frame.info is own
    assert pairer.add_image(image(2), 0.0) == []
    own = info(2)
    (frame,) = pairer.add_info(own)
    assert frame.info is own


def test_info_of_an_earlier_run_does_not_match_by_its_stamp(pairer):
    for sec in (1, 2, 3, 1):
        pairer.add_info(info(sec))
    pairer.add_image(image(2), 0.0)
    assert paired(pairer.flush()) == [(2, 1, False)]


def test_calibrations_are_kept_when_stamps_are_forgotten(pairer):
    pairer.add_info(info(8))
    pairer.add_image(image(8), 0.0)
    pairer.forget_stamps()
    for sec in (1, 8):
        assert pairer.add_image(image(sec), 0.0) == []
        assert paired(pairer.flush()) == [(sec, 8, False)]
        pairer.forget_stamps()


def test_image_without_a_stamp_does_not_wait_for_one_that_matches(pairer):
    assert pairer.add_image(image(0), 0.0) == []
    assert paired(pairer.add_info(info(0))) == [(0, 0, False)]
    assert paired(pairer.add_image(image(0), 0.0)) == [(0, 0, False)]


def test_info_of_a_silent_camera_outlives_those_of_a_busy_one(pairer):
    pairer.add_info(info(1, "left"))
    for sec in range(2, 3 * REMEMBERED):
        pairer.add_info(info(sec, "right"))
    pairer.add_image(image(50, "left"), 0.0)
    assert paired(pairer.flush()) == [(50, 1, False)]


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


# Recordings.


def recorded(*entries):
    """CameraInfo messages of (recorded time, stamp, frame_id, name); the name is their lens."""
    messages = []
    for time, sec, frame_id, name in entries:
        message = info(sec, frame_id)
        message.distortion_model = name
        messages.append((time, serialize_message(message)))
    return recorded_infos(messages, lambda data: deserialize_message(data, CameraInfo))


def found(infos, time, sec, frame_id="camera"):
    """Name and exactness of the CameraInfo of an image."""
    data, exact = infos.find(image(sec, frame_id), time)
    return data and deserialize_message(data, CameraInfo).distortion_model, exact


def test_recorded_image_gets_the_info_of_its_frame_and_stamp_else_the_newest_before():
    infos = recorded((1, 1, "camera", "a"), (4, 4, "camera", "b"), (2, 2, "other", "c"))
    cases = {
        (1, "camera"): ("a", True),
        (2, "camera"): ("a", False),  # the stamp of another camera
        (3, "camera"): ("a", False),
        (5, "camera"): ("b", False),
        (0, "camera"): ("a", False),  # none had been recorded: the first one
        (2, "other"): ("c", True),
        (5, "unknown"): (None, False),
    }
    for (sec, frame_id), expected in cases.items():
        assert found(infos, sec, sec, frame_id) == expected, (sec, frame_id)


def test_zero_stamps_are_unset_and_images_get_the_info_recorded_before_them():
    infos = recorded((10, 0, "camera", "a"), (20, 0, "camera", "b"), (30, 0, "camera", "c"))
    for time, expected in ((5, "a"), (12, "a"), (25, "b"), (31, "c")):
        assert found(infos, time, 0) == (expected, False)


def test_repeated_stamps_are_told_apart_by_the_recorded_time():
    """All messages of a driver with a broken clock have one stamp."""
    infos = recorded((10, 7, "camera", "a"), (20, 7, "camera", "b"), (30, 7, "camera", "c"))
    for time, expected in ((9, "a"), (11, "a"), (21, "b"), (31, "c")):
        assert found(infos, time, 7) == (expected, True)


def test_simulation_that_began_again_has_the_calibration_of_each_run():
    runs = [(100 + sec, sec, "camera", "first") for sec in range(1, 10)]
    runs += [(200 + sec, sec, "camera", "second") for sec in range(1, 10) if sec != 5]
    infos = recorded(*runs)
    for sec in range(1, 10):
        assert found(infos, 100 + sec, sec) == ("first", True)
        assert found(infos, 200 + sec, sec) == ("second", sec != 5)


def test_image_without_its_info_does_not_get_that_of_a_later_run():
    runs = [(100 + sec, sec, "camera", "first") for sec in (1, 2, 4)]
    runs += [(200 + sec, sec, "camera", "second") for sec in (1, 2, 3, 4)]
    assert found(recorded(*runs), 103, 3) == ("first", False)


def test_cameras_that_share_a_topic_and_their_stamps_stay_apart():
    both = [(s, s, side, f"{side} lens") for s in (1, 2, 3) for side in ("left", "/right")]
    infos = recorded(*both)
    for sec in (1, 2, 3):
        assert found(infos, sec, sec, "left") == ("left lens", True)
        assert found(infos, sec, sec, "right") == ("/right lens", True)
        assert found(infos, sec, sec, "") == (None, False)


@pytest.mark.parametrize(
    ("of_info", "of_image"), [("/camera", "camera"), ("camera", "/camera"), ("", "c"), ("c", "")]
)
def test_frame_id_with_a_slash_or_none_is_that_of_the_only_calibration(of_info, of_image, pairer):
    assert found(recorded((1, 1, of_info, "a")), 1, 1, of_image) == ("a", True)
    pairer.add_info(info(1, of_info))
    assert paired(pairer.add_image(image(1, of_image), 0.0)) == [(1, 1, True)]


def test_missing_info_is_explained_with_the_frame_ids_of_both_sides(pairer):
    assert pairer.infos.missing(image(1, "/front")) == (
        "no CameraInfo with the image's frame_id '/front'"
    )
    for frame_id in ("/rear", "left"):
        pairer.add_info(info(1, frame_id))
    assert pairer.infos.missing(image(1, "/front")) == (
        "no CameraInfo with the image's frame_id '/front', only with 'left', 'rear'"
    )


def test_recorded_info_that_cannot_be_deserialised_is_left_out():
    messages = [(0, b"\0\1\0\0"), (0, serialize_message(info(3)))]
    infos = recorded_infos(messages, lambda data: deserialize_message(data, CameraInfo))
    data, _ = infos.find(image(5), 5)
    assert deserialize_message(data, CameraInfo) == info(3)
