import math
from dataclasses import replace

import numpy as np
import pytest
from support.drawn_boxes import AWAY, CAMERA, CLASSES, K, boxes

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.drawing.from_above import FIELD_OF_VIEW, draw_bev
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles


def drawn_pixels(picture, **options):
    """Mean (x, y) of what detections added to the picture from above."""
    empty = draw_bev(boxes(), CAMERA, CLASSES, **options)
    rows, columns = np.nonzero((picture != empty).any(-1))
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ("size", "ahead"), [((400, 600), np.array([0, -1])), ((900, 300), np.array([1, 0]))]
)
def test_forward_follows_the_longer_side_of_the_picture_from_above(size, ahead):
    options = {"size": size, "range": 50.0}
    near, far = (
        drawn_pixels(draw_bev(boxes((0, 0.8, z, 0.0)), CAMERA, CLASSES, **options), **options)
        for z in (15, 35)
    )
    step = far - near
    np.testing.assert_allclose(step / np.linalg.norm(step), ahead, atol=0.05)
    # 35 m to 50 m, the end of the picture, is three quarters of the step from 15 m to 35 m.
    end = far + 0.75 * step
    np.testing.assert_allclose(end @ ahead, max(0, ahead @ np.array(size)), atol=3)


def test_right_of_the_camera_is_right_in_the_picture_from_above():
    picture = draw_bev(boxes((8, 0.8, 30, AWAY)), CAMERA, CLASSES)
    assert drawn_pixels(picture)[0] > 350


def test_picture_from_above_marks_the_front_of_a_box():
    away = drawn_pixels(draw_bev(boxes((0, 0.8, 30, AWAY), sigma=0.01), CAMERA, CLASSES))
    towards = drawn_pixels(draw_bev(boxes((0, 0.8, 30, -AWAY), sigma=0.01), CAMERA, CLASSES))
    assert away[1] < towards[1] - 1


def test_ellipse_shows_one_sigma_of_the_position():
    def height(sigma):
        picture = draw_bev(boxes((0, 0.8, 30, AWAY), sigma=sigma), CAMERA, CLASSES)
        rows = np.nonzero((picture != draw_bev(boxes(), CAMERA, CLASSES)).any(-1))[0]
        return np.ptp(rows)

    scale = height(20.0) - height(15.0)  # 5 m more on either side
    assert height(20.0) == pytest.approx(4 * scale, abs=8)
    assert height(math.nan) < height(6.0)


def truth(class_name):
    return KittiObject(class_name, 0.0, 0, 0.0, (0, 0, 1, 1), (4.0, 1.6, 1.5), (3, 0.8, 30), AWAY)


def added_by(ground_truth):
    """Pixels that ground truth adds to the picture from above: where, and their colours."""
    with_truth = draw_bev(boxes(), CAMERA, CLASSES, ground_truth=ground_truth)
    without = draw_bev(boxes(), CAMERA, CLASSES, ground_truth=[])
    rows, columns = np.nonzero((with_truth != without).any(-1))
    return np.stack([columns, rows], 1), with_truth[rows, columns].astype(int)


def test_ground_truth_is_outlined_in_white_where_the_box_is():
    where, colors = added_by([truth("Car")])
    assert colors.max() > 180
    assert np.ptp(colors, axis=1).max() < 15
    detected = drawn_pixels(draw_bev(boxes((3.0, 0.8, 30.0, AWAY)), CAMERA, CLASSES))
    assert abs(where.mean(0) - detected).max() < 4


def test_ground_truth_of_unknown_classes_is_dim_and_regions_without_a_box_are_left_out():
    assert added_by([truth("Van")])[1].max() < 180
    region = KittiObject("DontCare", -1, -1, -10, (0, 0, 9, 9), (-1, -1, -1), (0, 0, 9), -10)
    assert len(added_by([region])[0]) == 0


@pytest.mark.filterwarnings("error")
def test_field_of_view_is_that_of_the_rays_that_the_lens_has():
    def width_at_the_far_end(camera):
        picture = draw_bev(boxes(), camera, CLASSES)
        return (picture[2] == FIELD_OF_VIEW).all(-1).sum()

    lens = (-2.3, 0, 0, 0, 0, -2.35)
    narrow = CameraModel.from_intrinsics(K, 1280, 384, lens, "rational_polynomial")
    assert 300 < width_at_the_far_end(narrow) <= width_at_the_far_end(CAMERA)


@pytest.mark.parametrize("turned", ["level", "rotation"])
@pytest.mark.parametrize("roll", [90, -90])
def test_field_of_view_of_a_camera_on_its_side_is_that_of_its_columns(roll, turned):
    level = level_from_angles(0.0, math.radians(roll))
    on_its_side = replace(CAMERA, **{turned: level})
    angle = 2 * math.atan(CAMERA.height / 2 / CAMERA.fy)
    narrow = CameraModel.from_intrinsics(
        [[CAMERA.fx, 0, CAMERA.height / 2], [0, CAMERA.fy, 96], [0, 0, 1]], CAMERA.height, 192
    )
    assert 0.3 < angle < 0.8
    pictures = (draw_bev(boxes(), camera, CLASSES) for camera in (on_its_side, narrow))
    seen, expected = ((p == FIELD_OF_VIEW).all(-1).sum() for p in pictures)
    assert seen == pytest.approx(expected, rel=0.1)
