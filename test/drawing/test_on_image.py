from dataclasses import replace

import numpy as np
import pytest
from support.drawn_boxes import AWAY, CAMERA, CLASSES, K, boxes

from km3d_ros.drawing.on_image import draw_detections
from km3d_ros.drawing.shapes import color_of
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.geometry.orientation import corner_offsets


def grey():
    return np.full((384, 1280, 3), 90, np.uint8)


def corners_in_image(detections, camera=CAMERA):
    offsets = corner_offsets(detections.size, detections.yaw, camera.level)
    return camera.project(detections.center[:, None] + offsets)[0]


def changed_near(picture, pixel, radius=2):
    x, y = np.round(pixel).astype(int)
    patch = picture[y - radius : y + radius + 1, x - radius : x + radius + 1]
    return (patch != 90).any()


def test_every_edge_is_drawn_where_it_projects():
    detections = boxes((-1.5, 0.8, 15, 0.7))
    picture = draw_detections(grey(), detections, CAMERA, CLASSES)
    corners = corners_in_image(detections)
    for k in range(4):
        for a, b in ((k, (k + 1) % 4), (k + 4, (k + 1) % 4 + 4), (k, k + 4)):
            for share in (0.2, 0.5, 0.8):
                assert changed_near(picture, corners[a] * (1 - share) + corners[b] * share)


def test_distorted_camera_moves_the_drawn_corners():
    raw = CameraModel.from_intrinsics(
        K, 1280, 384, distortion=(-0.3, 0.1, 0.0, 0.0, 0.0), distortion_model="plumb_bob"
    )
    detections = boxes((6.0, 0.8, 11, AWAY))
    straight, bent = corners_in_image(detections), corners_in_image(detections, raw)
    assert np.linalg.norm(straight - bent, axis=1).min() > 8
    picture = draw_detections(grey(), detections, raw, CLASSES)
    assert all(changed_near(picture, corner) for corner in bent)


def test_front_face_is_shaded_and_the_side_is_not():
    detections = boxes((-5, 0.8, 14, 0.0))  # seen from the side, front to the right
    corners = corners_in_image(detections)
    picture = draw_detections(grey(), detections, CAMERA, CLASSES)
    x, y = np.round(corners[[0, 1, 5, 4]].mean(0)).astype(int)
    shade = 0.6 * 90 + 0.4 * np.array(color_of(0))
    np.testing.assert_allclose(picture[y, x], shade, atol=2)
    # A quarter into the near side, clear of every edge.
    near_side = corners[[1, 2, 6, 5]]
    x, y = np.round(near_side[:2].mean(0) * 0.3 + near_side[2:].mean(0) * 0.7).astype(int)
    assert (picture[y, x] == 90).all()


def test_edges_that_the_box_hides_are_thinner():
    detections = boxes((-4, 0.8, 14, 0.0))
    corners = corners_in_image(detections)
    picture = draw_detections(grey(), detections, CAMERA, CLASSES)

    def width_of_upright(k):
        x, y = np.round((corners[k] + corners[k + 4]) / 2).astype(int)
        return (picture[y, x - 4 : x + 5] != 90).any(-1).sum()

    assert width_of_upright(3) < width_of_upright(2)  # far left against near left


def test_boxes_behind_the_camera_leave_the_image_alone():
    picture = draw_detections(grey(), boxes((0, 0.8, -10, AWAY)), CAMERA, CLASSES)
    assert (picture == 90).all()


def test_box_beside_the_camera_is_drawn_up_to_the_image_border():
    detections = boxes((2.2, 0.8, 1.0, AWAY))  # its rear is behind the camera
    corners = corners_in_image(detections)
    picture = draw_detections(grey(), detections, CAMERA, CLASSES)
    assert changed_near(picture, corners[4])  # front, top, on the camera's side
    assert (picture[60:, :640] == 90).all()  # below the label


def test_the_nearer_of_two_boxes_is_on_top():
    both = boxes((0, 0.8, 30, AWAY), (0, 0.8, 12, AWAY), classes=[1, 0])
    near = boxes((0, 0.8, 12, AWAY))
    picture = draw_detections(grey(), both, CAMERA, CLASSES)
    x, y = np.round(corners_in_image(near)[[2, 3]].mean(0)).astype(int)
    assert tuple(picture[y, x]) == color_of(0)


def test_label_is_a_plate_in_the_class_colour_above_the_box():
    detections = boxes((0, 0.8, 15, AWAY), classes=[2])
    picture = draw_detections(grey(), detections, CAMERA, CLASSES)
    x0, y0 = detections.box2d[0, :2].round().astype(int).tolist()
    plate = 0.2 * 90 + 0.8 * np.array(color_of(2))
    np.testing.assert_allclose(picture[y0 - 5, x0 + 2], plate, atol=2)


def test_labels_of_boxes_in_line_do_not_cover_each_other():
    one = draw_detections(grey(), boxes((0, 0.8, 20, AWAY)), CAMERA, CLASSES)
    pair = boxes((0, 0.8, 20, AWAY), (0, 0.8, 20.5, AWAY), classes=[0, 1])
    two = draw_detections(grey(), pair, CAMERA, CLASSES)
    x0, y0 = pair.box2d[0, :2].round().astype(int).tolist()
    label = np.s_[y0 - 14 : y0 - 4, x0 + 3 : x0 + 60]
    np.testing.assert_array_equal(one[label], two[label])


def test_input_image_is_left_alone_and_no_detections_give_its_copy():
    image = grey()
    draw_detections(image, boxes((0, 0.8, 15, AWAY)), CAMERA, CLASSES)
    assert (image == 90).all()
    copy = draw_detections(image, boxes(), CAMERA, CLASSES)
    assert copy is not image
    np.testing.assert_array_equal(copy, image)


@pytest.mark.filterwarnings("error")
def test_lens_whose_model_ends_inside_the_image_draws_what_it_sees():
    """The pole is at r = 0.65, 455 pixels from the middle, which the corners exceed."""
    lens = (-2.3, 0, 0, 0, 0, -2.35)
    camera = CameraModel.from_intrinsics(K, 1280, 384, lens, "rational_polynomial")
    ahead = boxes((0.0, 0.8, 20.0, AWAY))
    drawn = draw_detections(grey(), ahead, camera, CLASSES)
    for corner in corners_in_image(ahead, camera):
        assert changed_near(drawn, corner)
    behind = draw_detections(grey(), boxes((0.0, 0.8, -20.0, AWAY)), camera, CLASSES)
    assert (behind == 90).all()


def tilted(camera, pitch, roll=0.0):
    return replace(camera, level=level_from_angles(pitch, roll))


def line_row(picture, column):
    """Row of the middle of a white line on a grey picture."""
    return np.average(np.arange(len(picture)), weights=picture[:, column, 0].astype(float) - 90)


@pytest.mark.parametrize("pitch", [0.1, -0.1])
def test_horizon_of_a_camera_that_looks_down_is_above_the_middle(pitch):
    picture = draw_detections(grey(), boxes()[:0], tilted(CAMERA, pitch), CLASSES)
    row = CAMERA.cy - CAMERA.fy * np.tan(pitch)
    for column in (0, 640, 1279):
        assert abs(line_row(picture, column) - row) < 0.5


def test_horizon_of_a_camera_that_leans_to_the_right_is_lower_at_the_left():
    """What is level appears turned to the left."""
    picture = draw_detections(grey(), boxes()[:0], tilted(CAMERA, 0.0, roll=0.1), CLASSES)
    for column in (140, 640, 1140):
        row = CAMERA.cy - (column - CAMERA.cx) * np.tan(0.1)
        assert abs(line_row(picture, column) - row) < 0.5


def test_horizon_bends_with_the_lens():
    raw = CameraModel.from_intrinsics(K, 1280, 384, (-0.3, 0.1, 0, 0), "plumb_bob")
    picture = draw_detections(grey(), boxes()[:0], tilted(raw, 0.15), CLASSES)
    middle, side = (line_row(picture, column) for column in (640, 100))
    assert middle + 5 < side < raw.cy


def test_level_camera_has_no_line():
    assert (draw_detections(grey(), boxes()[:0], CAMERA, CLASSES) == 90).all()
