import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from km3d_ros.geometry import box3d
from km3d_ros.geometry.orientation import corner_offsets, quaternions, rotations

UPSIDE_DOWN = np.diag([-1.0, -1.0, 1.0])


def turned(x, y, z):
    return cv2.Rodrigues(np.array([x, y, z], np.float64))[0]


@given(st.floats(-7, 7))
def test_body_axes_are_turned_into_the_optical_frame(yaw):
    cosine, sine = math.cos(yaw), math.sin(yaw)
    about_y = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    body = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(rotations(yaw, np.eye(3)), about_y @ body, atol=1e-12)


@pytest.mark.parametrize("level", [np.eye(3), turned(-0.2, 0, 0.1), UPSIDE_DOWN])
def test_quaternions_are_the_rotations(level):
    yaw = np.linspace(-4, 4, 9)
    expected = rotations(yaw, level)
    found = quaternions(yaw, level)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(Rotation.from_quat(found).as_matrix(), expected, atol=1e-9)


def test_axis_of_a_box_is_the_vertical_of_the_level_frame():
    level = turned(-0.3, 0, 0.05)
    up = rotations(np.array([0.1, 2.0]), level) @ (0, 0, 1)
    np.testing.assert_allclose(up @ level.T, [[0, -1, 0]] * 2, atol=1e-12)


def test_corners_in_a_level_frame_are_those_of_the_graph():
    size, yaw = np.array([[4.0, 1.8, 1.5], [0.8, 0.6, 1.7]]), np.array([0.7, -2.0])
    expected = box3d.corner_offsets(torch.from_numpy(size), torch.from_numpy(yaw))
    np.testing.assert_allclose(corner_offsets(size, yaw, np.eye(3)), expected, atol=1e-12)


def test_corners_of_a_tilted_camera_are_level_after_its_level_rotation():
    size, yaw, level = np.array([[4.0, 1.8, 1.5]]), np.array([0.7]), turned(-0.2, 0, 0.1)
    expected = corner_offsets(size, yaw, np.eye(3))
    np.testing.assert_allclose(corner_offsets(size, yaw, level) @ level.T, expected, atol=1e-12)
