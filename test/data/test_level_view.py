"""The level view of a tilted and bent camera: what is straight ahead of it is where it belongs."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from km3d_ros.data.calibration import write_ros_calibration
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import KittiObject, write_objects
from km3d_ros.data.level_view import level_projection, level_view
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.town import sample_scene
from km3d_ros.town.dataset import prepare, write_frame
from km3d_ros.town.lens import take

K = [[300.0, 0, 200], [0, 300, 100], [0, 0, 1]]
LENS = (-0.25, 0.08, 0.001, 0.0, 0.0)
POINT = np.array([1.5, 0.4, 9.0])
"""In the level frame, metres."""


@pytest.fixture(params=[(0.2, 0.0), (-0.1, 0.1)])
def frame(tmp_path, request):
    """A frame of a camera with a lens, that does not look level, with a spot at `POINT`."""
    camera = CameraModel.from_intrinsics(K, 400, 240, LENS, "plumb_bob")
    camera = replace(camera, level=level_from_angles(*request.param))
    for name in ("image_2", "label_2", "calib"):
        (tmp_path / name).mkdir()
    write_ros_calibration(tmp_path / "calib/000000.yaml", camera, level_projection(camera))
    write_objects(tmp_path / "label_2/000000.txt", [])
    turn, _ = cv2.Rodrigues(camera.level.T)
    pixels, _ = cv2.projectPoints(POINT, turn, np.zeros(3), np.array(K), LENS)
    x, y = pixels.flatten()
    image = np.zeros((240, 400, 3), np.uint8)
    columns, rows = np.meshgrid(np.arange(400), np.arange(240))
    image[:] = (255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18))[..., None]
    cv2.imwrite(str(tmp_path / "image_2/000000.png"), image)
    return KittiDataset(tmp_path)[0]


def test_point_of_the_level_frame_is_where_the_projection_says(frame):
    view = level_view(frame)[0].astype(float)[..., 0]
    expected = frame.projection @ (*POINT, 1)
    weights = view / view.sum()
    x, y = (weights * np.arange(400)).sum(), (weights * np.arange(240)[:, None]).sum()
    np.testing.assert_allclose((x, y), expected[:2] / expected[2], atol=0.3)


def test_middle_of_the_image_stays_in_the_middle(frame):
    middle = np.array([199.5, 119.5])
    ray = np.append(frame.camera.rays(middle), 1)
    pixel = frame.projection[:, :3] @ ray
    np.testing.assert_allclose(pixel[:2] / pixel[2], middle, atol=1e-6)
    np.testing.assert_allclose(frame.projection[:2, :2], np.array(K)[:2, :2])


def test_image_of_another_size_than_its_calibration_is_named(frame):
    cv2.imwrite(str(frame.image_path), np.zeros((200, 400, 3), np.uint8))
    with pytest.raises(InputError, match=r"000000.png: 400x200 pixels, expected 400x240 as of"):
        level_view(frame)


@pytest.mark.parametrize(("pitch", "roll"), [(0.17, 0.0), (-0.1, 0.08), (0.0, -0.15)])
@pytest.mark.parametrize("lens", [(), LENS])
def test_boxes_are_those_of_a_level_camera_with_the_same_projection(tmp_path, pitch, roll, lens):
    camera = CameraModel.from_intrinsics(K, 400, 240, lens, "plumb_bob")
    camera = replace(camera, level=level_from_angles(pitch, roll))
    level = CameraModel.from_projection(level_projection(camera), 400, 240)
    tilted, straight = take(sample_scene(3, 7), camera, level)
    prepare(tmp_path)
    write_frame(tmp_path, "000000", tilted)
    image, objects = level_view(KittiDataset(tmp_path)[0])
    assert image.shape == (240, 400, 3)
    objects = [item for item in objects if item.has_box3d and item.truncation == 0]
    truths = [item for item in straight.objects if item.has_box3d and item.truncation == 0]
    compared = 0
    for item in objects:
        for truth in truths:
            if math.dist(item.center, truth.center) < 0.05:
                np.testing.assert_allclose(item.box2d, truth.box2d, atol=1)
                compared += 1
    assert compared > 4


def test_boxes_that_the_level_image_does_not_show_are_left_out(tmp_path):
    k = [[80.0, 0, 200], [0, 80, 120], [0, 0, 1]]
    fisheye = CameraModel.from_intrinsics(k, 400, 240, (), "equidistant")
    for name in ("image_2", "label_2", "calib"):
        (tmp_path / name).mkdir()
    write_ros_calibration(tmp_path / "calib/000000.yaml", fisheye, level_projection(fisheye))
    boxes = [(0.0, 0.0, 30.0, 30.0), (190.0, 110.0, 210.0, 130.0)]
    objects = [KittiObject.of_box2d("DontCare", box) for box in boxes]
    write_objects(tmp_path / "label_2/000000.txt", objects)
    cv2.imwrite(str(tmp_path / "image_2/000000.png"), np.zeros((240, 400, 3), np.uint8))
    _, (found,) = level_view(KittiDataset(tmp_path)[0])
    edge = 80 * math.tan(10 / 80)
    np.testing.assert_allclose(found.box2d[0], 200 - edge, atol=0.1)
    np.testing.assert_allclose(found.box2d[3], 120 + edge, atol=0.1)
