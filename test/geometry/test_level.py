import math
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from km3d_ros.errors import InputError
from km3d_ros.geometry.level import (
    MAX_PITCH,
    angles_of,
    level_from_angles,
    level_from_mount,
    rotation_matrix,
)

OPTICAL_IN_BODY = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""REP 103: the optical axes (x right, y down, z ahead) in a body (x ahead, y left, z up)."""


def mounted(pitch, roll=0.0, yaw=0.0):
    """The rotation from the camera into base_link of a camera with these angles of REP 103."""
    turn = Rotation.from_euler("xyz", (roll, pitch, yaw))  # about the fixed axes
    return rotation_matrix(*turn.as_quat()) @ OPTICAL_IN_BODY


def test_camera_that_looks_straight_ahead_is_level():
    # The transform that static_transform_publisher makes of --roll -pi/2 --yaw -pi/2.
    straight = rotation_matrix(-0.5, 0.5, -0.5, 0.5)
    np.testing.assert_allclose(straight, OPTICAL_IN_BODY, atol=1e-12)
    np.testing.assert_allclose(level_from_mount(straight), np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(level_from_angles(0.0, 0.0), np.eye(3))


def test_positive_pitch_looks_down():
    for level in (level_from_angles(0.1, 0.0), level_from_mount(mounted(0.1))):
        np.testing.assert_allclose(level @ (0, 0, 1), (0, math.sin(0.1), math.cos(0.1)))
        np.testing.assert_allclose(level @ (1, 0, 0), (1, 0, 0), atol=1e-12)


def test_positive_roll_leans_to_the_right():
    for level in (level_from_angles(0.0, 0.1), level_from_mount(mounted(0.0, roll=0.1))):
        np.testing.assert_allclose(level @ (1, 0, 0), (math.cos(0.1), math.sin(0.1), 0))
        np.testing.assert_allclose(level @ (0, 0, 1), (0, 0, 1), atol=1e-12)


@pytest.mark.parametrize("yaw", [0.0, 0.5, math.pi / 2, -2.5, math.pi])
def test_yaw_does_not_count(yaw):
    for pitch, roll in product((-1.0, -0.2, 0.0, 0.3), (-3.0, -0.4, 0.0, 0.1, math.pi / 2)):
        level = level_from_mount(mounted(pitch, roll, yaw))
        np.testing.assert_allclose(level, level_from_angles(pitch, roll), atol=1e-12)
        np.testing.assert_allclose(angles_of(level), (pitch, roll), atol=1e-12)
        np.testing.assert_allclose(level @ level.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(level) == pytest.approx(1)


def test_up_in_the_vehicle_is_up_in_the_level_frame():
    rotation = mounted(0.3, -0.2, 0.7)
    np.testing.assert_allclose(
        level_from_mount(rotation) @ rotation.T @ (0, 0, 1), (0, -1, 0), atol=1e-12
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_camera_may_look_up_to_60_degrees_from_the_horizon(sign):
    within, beyond = sign * (MAX_PITCH - 0.01), sign * (MAX_PITCH + 0.01)
    np.testing.assert_allclose(
        level_from_mount(mounted(within, 0.3)), level_from_angles(within, 0.3), atol=1e-12
    )
    where = "below" if sign > 0 else "above"
    refused = f"61° {where} the horizon, expected at most 60°"
    with pytest.raises(InputError, match=refused):
        level_from_angles(beyond, 0.0)
    with pytest.raises(InputError, match=refused):
        level_from_mount(mounted(beyond))


@pytest.mark.parametrize("pitch", [math.pi, -2.0, 10.0])
def test_pitch_beyond_the_zenith_is_refused(pitch):
    with pytest.raises(InputError, match="the camera looks"):
        level_from_angles(pitch, 0.0)


def test_frame_of_a_body_is_no_frame_of_images():
    # x ahead, z up: its z axis looks at the sky.
    with pytest.raises(InputError, match=r"90° above the horizon.*is it an optical frame"):
        level_from_mount(np.eye(3))


@pytest.mark.parametrize("angle", [math.nan, math.inf, -math.inf])
def test_angles_that_are_not_finite_are_refused(angle):
    with pytest.raises(InputError, match="camera pitch must be finite"):
        level_from_angles(angle, 0.0)
    with pytest.raises(InputError, match="camera roll must be finite"):
        level_from_angles(0.0, angle)


@pytest.mark.parametrize("turn", [(0, 0, 0, 0), (0, 0, 0, 2), (0, 0, math.nan, 1), (1, 1, 0, 0)])
def test_quaternion_that_is_no_rotation_is_refused(turn):
    with pytest.raises(InputError, match="is no rotation"):
        rotation_matrix(*turn)


def test_quaternion_with_few_digits_is_a_rotation():
    rotation = rotation_matrix(0.0, 0.0, 0.71, 0.71)
    np.testing.assert_allclose(rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
