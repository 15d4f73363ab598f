"""Town through a lens is Town through a pinhole, bent as OpenCV bends it."""

import cv2
import numpy as np
import pytest

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.town import render, sample_scene
from km3d_ros.town.lens import photograph

WIDTH, HEIGHT = 640, 192
K = np.array([[400.0, 0, 310], [0, 400, 100], [0, 0, 1]])
LENSES = {
    "plumb_bob": (-0.28, 0.09, 0.001, -0.0005, -0.01),
    "rational_polynomial": (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02),
    "equidistant": (-0.02, 0.004, -0.003, 0.0006),
}


@pytest.fixture(scope="module")
def frame():
    """Wider and sharper than the cameras."""
    return render(sample_scene(3, 1), 1600, 600, 600 / 1600)


def straight_picture(frame, intrinsics=K):
    """The frame as a pinhole sees it, by OpenCV."""
    to_camera = intrinsics @ np.linalg.inv(frame.projection[:, :3])
    return cv2.warpPerspective(frame.image, to_camera, (WIDTH, HEIGHT))


def difference(image, other):
    return np.abs(image.astype(int) - other)[10:-10, 20:-20].mean()


@pytest.mark.parametrize("model", LENSES)
def test_a_lens_bends_the_picture_as_opencv_does(frame, model):
    lens = np.array(LENSES[model])
    image = photograph(frame, CameraModel.from_intrinsics(K, WIDTH, HEIGHT, lens, model))
    opencv = cv2.fisheye if model == "equidistant" else cv2
    maps = opencv.initUndistortRectifyMap(K, lens, np.eye(3), K, (WIDTH, HEIGHT), cv2.CV_32FC1)
    undistorted = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    moved = straight_picture(frame, K + [[0, 0, 0.5], [0, 0, 0], [0, 0, 0]])
    expected = straight_picture(frame)
    assert difference(undistorted, expected) < difference(moved, expected)
    assert difference(image, expected) > 5 * difference(undistorted, expected)


def test_a_pinhole_sees_a_part_of_the_frame_itself(frame):
    projection = frame.projection.copy()
    projection[:2, 2] -= 300, 200
    image = photograph(frame, CameraModel.from_projection(projection, WIDTH, HEIGHT))
    np.testing.assert_array_equal(image, frame.image[200:392, 300:940])


def test_a_photograph_is_black_where_the_frame_does_not_reach(frame):
    k = [[150, 0, 320], [0, 150, 96], [0, 0, 1]]
    image = photograph(frame, CameraModel.from_intrinsics(k, WIDTH, HEIGHT, (), "equidistant"))
    edges = (np.array([0, 1599]) - frame.projection[0, 2]) / 600
    left, right = (320 + 150 * np.arctan(edges)).astype(int)
    assert image[96, : left - 1].max() == image[96, right + 3 :].max() == 0
    assert image[96, left + 2 : right].max(axis=1).min() > 0
