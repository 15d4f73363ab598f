import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.geometry.pose import Pose
from km3d_ros.tracking.poses import Odometry, parse_mount


def at(x: float, yaw: float = 0.0) -> Pose:
    return Pose.of((0, 0, np.sin(yaw / 2), np.cos(yaw / 2)), (x, 0.0, 0.0))


def odometry(*poses: tuple[float, Pose]) -> Odometry:
    result = Odometry()
    for time, pose in poses:
        result.add(time, pose)
    return result


@pytest.mark.parametrize(
    "text", ["front", "front 1 2 3 4 5", "front 1 2 3 4 5 x", "f 1 2 3 4 5 nan"]
)
def test_a_mount_that_makes_no_sense(text):
    with pytest.raises(InputError, match="expected: frame x y z roll pitch yaw"):
        parse_mount(text)


def test_odometry_is_interpolated():
    poses = odometry((0.0, at(0.0)), (0.1, at(1.0, 0.2)))
    between = poses.at(0.075)
    assert between.translation == pytest.approx((0.75, 0, 0))
    assert np.arctan2(between.rotation[1, 0], between.rotation[0, 0]) == pytest.approx(0.15)
    assert poses.at(0.1).translation[0] == 1.0


def test_odometry_is_extrapolated_for_a_fifth_of_a_second():
    poses = odometry((0.0, at(0.0)), (0.1, at(1.0)))
    assert poses.at(0.25).translation == pytest.approx((2.5, 0, 0))
    with pytest.raises(InputError, match=r"stopped 0\.25 s before"):
        poses.at(0.35)


def test_odometry_is_extrapolated_from_poses_that_are_apart():
    """Two poses in a nanosecond, as of two publishers, say nothing about the speed."""
    poses = odometry((0.0, at(0.0)), (0.1, at(1.0)), (0.1 + 1e-9, at(1.01)))
    assert poses.at(0.2).translation == pytest.approx((2.02, 0, 0))
    with pytest.raises(InputError, match="stopped"):
        odometry((0.1, at(1.0)), (0.1 + 1e-9, at(1.01))).at(0.2)


def test_odometry_that_does_not_reach_back():
    with pytest.raises(InputError, match="no odometry yet"):
        odometry((1.0, at(0.0)), (1.1, at(0.0))).at(0.9)
    with pytest.raises(InputError, match="no odometry yet"):
        Odometry().at(0.9)


def test_a_hole_in_the_odometry():
    with pytest.raises(InputError, match=r"missing for 0\.80 s"):
        odometry((0.0, at(0.0)), (0.8, at(1.0))).at(0.4)


def test_odometry_that_jumps_starts_again():
    poses = odometry((0.0, at(0.0)), (0.1, at(1.0)))
    assert not poses.add(0.2, at(50.0))
    assert poses.jumps == 1
    assert len(poses) == 1
    assert poses.at(0.2).translation[0] == 50.0


def test_odometry_with_an_older_stamp_is_left_out():
    poses = odometry((0.0, at(0.0)), (0.1, at(1.0)))
    assert poses.add(0.05, at(9.0))
    assert poses.at(0.05).translation == pytest.approx((0.5, 0, 0))
    assert not poses.add(-10.0, at(3.0))
    assert poses.at(-10.0).translation[0] == 3.0


def test_odometry_keeps_five_seconds():
    poses = odometry(*((k / 10, at(0.0)) for k in range(100)))
    assert len(poses) <= 52
    with pytest.raises(InputError):
        poses.at(1.0)
