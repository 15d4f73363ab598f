import math

import pytest

from km3d_ros.demo.drive import START, render_drive
from km3d_ros.town.drive import EGO_SPEED


def test_frames_of_a_drive_are_those_of_one_camera():
    first, second = render_drive(2, seed=7, rate=4.0)
    assert (first.stamp, second.stamp) == (START, START + 250_000_000)
    for frame in (first, second):
        header = frame.image.header
        assert header == frame.info.header
        assert header.stamp.sec * 10**9 + header.stamp.nanosec == frame.stamp
        assert header.frame_id == "camera"
        assert (frame.info.width, frame.info.height) == (frame.image.width, frame.image.height)
        assert len(frame.image.data) == frame.image.height * frame.image.step
        assert frame.info.p[0] > 100


def test_odometry_is_the_motion_of_the_camera():
    first, second = (frame.odometry for frame in render_drive(2, seed=7, rate=4.0))
    assert (first.header.frame_id, first.child_frame_id) == ("odom", "base_link")
    assert second.header.stamp.nanosec == 250_000_000
    places = [(p.x, p.y) for p in (first.pose.pose.position, second.pose.pose.position)]
    # The lane is not the middle of the street, which bends.
    assert math.dist(*places) == pytest.approx(EGO_SPEED / 4, rel=0.02)
