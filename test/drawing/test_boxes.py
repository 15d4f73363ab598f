import math

import numpy as np
import pytest
import torch

from km3d_ros.data.kitti import KittiObject
from km3d_ros.drawing.boxes import draw_bev, draw_detections
from km3d_ros.drawing.shapes import color_of
from km3d_ros.geometry.box3d import Boxes3D, corner_offsets, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections

CLASSES = ("Car", "Pedestrian", "Cyclist")
K = [[700.0, 0, 640], [0, 700.0, 192], [0, 0, 1]]
CAMERA = CameraModel.from_intrinsics(K, 1280, 384)
AWAY = -math.pi / 2


def boxes(*rows, classes=None, sigma=0.5):
    """Detections of cars at (x, y, z, yaw)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    n = len(table)
    center, yaw, size = table[:, :3], table[:, 3], torch.tensor([[4.0, 1.6, 1.5]]).repeat(n, 1)
    points = CAMERA.project(keypoints(Boxes3D(center, size, yaw)).double()).float()
    limits = torch.tensor([1279.0, 383.0])
    low, high = (points[:, :8].amin(1), points[:, :8].amax(1))
    box2d = torch.cat([low.clamp(min=0).minimum(limits), high.clamp(min=0).minimum(limits)], 1)
    ones = torch.ones(n)
    return Detections(
        class_index=torch.tensor(classes or [0] * n, dtype=torch.int64),
        score=ones * 0.5,
        peak_score=ones,
        confidence=ones * 0.5,
        depth_error=ones * 0.04,
        box2d=box2d,
        keypoints=points,
        size=size,
        center=center,
        yaw=yaw,
        alpha=yaw,
        covariance=torch.eye(4).repeat(n, 1, 1) * sigma**2,
        reprojection_error=ones,
    )


def grey():
    return np.full((384, 1280, 3), 90, np.uint8)


def corners_in_image(detections, camera=CAMERA):
    offsets = corner_offsets(detections.size, detections.yaw)
    corners = (detections.center[:, None] + offsets).double()
    return camera.project(corners)[0].numpy()


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
    x0, y0 = detections.box2d[0, :2].round().int().tolist()
    plate = 0.2 * 90 + 0.8 * np.array(color_of(2))
    np.testing.assert_allclose(picture[y0 - 5, x0 + 2], plate, atol=2)


def test_labels_of_boxes_in_line_do_not_cover_each_other():
    one = draw_detections(grey(), boxes((0, 0.8, 20, AWAY)), CAMERA, CLASSES)
    pair = boxes((0, 0.8, 20, AWAY), (0, 0.8, 20.5, AWAY), classes=[0, 1])
    two = draw_detections(grey(), pair, CAMERA, CLASSES)
    x0, y0 = pair.box2d[0, :2].round().int().tolist()
    label = np.s_[y0 - 14 : y0 - 4, x0 + 3 : x0 + 60]
    np.testing.assert_array_equal(one[label], two[label])


def test_input_image_is_left_alone_and_no_detections_give_its_copy():
    image = grey()
    draw_detections(image, boxes((0, 0.8, 15, AWAY)), CAMERA, CLASSES)
    assert (image == 90).all()
    copy = draw_detections(image, boxes(), CAMERA, CLASSES)
    assert copy is not image
    np.testing.assert_array_equal(copy, image)


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


def test_every_class_has_a_colour_of_its_own():
    colors = [color_of(index) for index in range(30)]
    assert colors[0] == color_of(0)
    assert all(0 <= value <= 255 for color in colors for value in color)
    apart = [max(abs(x - y) for x, y in zip(a, b, strict=True))
             for i, a in enumerate(colors) for b in colors[:i]]  # fmt: skip
    assert min(apart) >= 8
