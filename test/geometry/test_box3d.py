import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from km3d_ros.geometry.box3d import (
    Boxes3D,
    bev_iou,
    corner_offsets,
    keypoints,
    observation_angle,
    tolerant_iou,
    volume_iou,
    wrap_angle,
    yaw_from_observation,
)


def box(x=0.0, y=0.0, z=0.0, length=4.0, width=2.0, height=1.5, yaw=0.0, dtype=torch.float64):
    return Boxes3D(
        center=torch.tensor([x, y, z], dtype=dtype),
        size=torch.tensor([length, width, height], dtype=dtype),
        yaw=torch.tensor(yaw, dtype=dtype),
    )


def random_boxes(count, seed, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return Boxes3D(
        center=torch.randn(count, 3, generator=rng, dtype=dtype) * 1.5 + 20,
        size=torch.rand(count, 3, generator=rng, dtype=dtype) * 4 + 0.5,
        yaw=torch.randn(count, generator=rng, dtype=dtype) * 3,
    )


def opencv_bev_overlap(a, b):
    """Area by OpenCV's convex clipping of the rectangles, in double-checked float32."""
    polygons = [
        (keypoints(item)[:4, 0::2] - a.center[0::2]).numpy().astype(np.float32) for item in (a, b)
    ]
    return cv2.intersectConvexConvex(*polygons)[0]


def pick(boxes, i):
    return Boxes3D(boxes.center[i], boxes.size[i], boxes.yaw[i])


def test_corners_follow_the_design():
    yaw = torch.tensor(-math.pi / 2, dtype=torch.float64)
    corners = corner_offsets(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64), yaw)
    # Facing +z: the front corners 0, 1 are at z = +2, the first one on the left (x = -1).
    expected = [[-1, 0.5, 2], [1, 0.5, 2], [1, 0.5, -2], [-1, 0.5, -2]]
    np.testing.assert_allclose(corners[:4], expected, atol=1e-12)
    np.testing.assert_allclose(corners[4:] - corners[:4], [[0, -1, 0]] * 4, atol=1e-12)


def test_last_keypoint_is_the_centre():
    boxes = random_boxes(5, seed=0)
    points = keypoints(boxes)
    assert points.shape == (5, 9, 3)
    assert torch.equal(points[:, 8], boxes.center)
    torch.testing.assert_close(points[:, :8].mean(1), boxes.center)


@given(st.floats(-1000, 1000, width=32), st.sampled_from([torch.float32, torch.float64]))
def test_wrapped_angle_is_the_same_direction_in_the_half_open_circle(angle, dtype):
    angle = torch.tensor(angle, dtype=dtype)
    wrapped = wrap_angle(angle)
    assert -math.pi <= wrapped.double() < math.pi or wrapped == torch.tensor(-math.pi, dtype=dtype)
    assert torch.cos(angle.double() - wrapped.double()) > 1 - 1e-7


@given(st.floats(-3.14, 3.14), st.floats(-3, 3))
def test_yaw_and_observation_angle_are_inverse(yaw, ray_x):
    yaw, ray_x = torch.tensor(yaw).double(), torch.tensor(ray_x).double()
    alpha = observation_angle(yaw, ray_x)
    torch.testing.assert_close(yaw_from_observation(alpha, ray_x), yaw)


def test_car_straight_ahead_on_its_ray_is_seen_from_behind():
    ray_x = torch.tensor(0.5)
    yaw = torch.atan(ray_x) - math.pi / 2
    torch.testing.assert_close(observation_angle(yaw, ray_x), torch.tensor(-math.pi / 2))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(), 1.0),
        (box(yaw=math.pi), 1.0),
        (box(x=2.0), 1 / 3),
        (box(x=4.0), 0.0),
        (box(z=2.0), 0.0),
        (box(x=4.0, z=2.0), 0.0),
        (box(x=100.0), 0.0),
        (box(length=2.0, width=1.0), 0.25),
        (box(yaw=math.pi / 2), 4 / 12),
        (box(y=9.0, height=3.0), 1.0),
        (box(length=0.0, width=0.0), 0.0),
    ],
)
def test_bev_iou_of_simple_pairs(other, expected):
    assert bev_iou(box(), other).item() == pytest.approx(expected, abs=1e-12)
    assert bev_iou(other, box()).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(), 1.0),
        (box(y=1.5), 0.0),
        (box(y=0.75), 1 / 3),
        (box(y=0.75, x=2.0), 3 / 21),
        (box(height=3.0), 0.5),
    ],
)
def test_volume_iou_of_simple_pairs(other, expected):
    assert volume_iou(box(), other).item() == pytest.approx(expected, abs=1e-12)


def test_two_empty_boxes_do_not_overlap():
    empty = box(length=0.0, width=0.0)
    assert bev_iou(empty, empty).item() == 0
    assert volume_iou(empty, empty).item() == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_box_has_full_overlap_with_itself(dtype, tolerance):
    boxes = random_boxes(500, seed=1, dtype=dtype)
    assert (bev_iou(boxes, boxes) - 1).abs().max() < tolerance
    assert (volume_iou(boxes, boxes) - 1).abs().max() < tolerance


def test_bev_iou_equals_opencv_clipping():
    a, b = random_boxes(500, seed=2), random_boxes(500, seed=3)
    overlap = torch.tensor([opencv_bev_overlap(pick(a, i), pick(b, i)) for i in range(500)])
    area = [boxes.size[:, 0] * boxes.size[:, 1] for boxes in (a, b)]
    expected = overlap / (area[0] + area[1] - overlap)
    assert (expected > 0).sum() > 250
    torch.testing.assert_close(bev_iou(a, b), expected.double(), atol=1e-5, rtol=0)


def test_volume_iou_equals_counting_random_points():
    a, b = box(yaw=0.3), box(x=0.7, y=0.4, z=-0.5, length=3.0, yaw=-0.6)
    points = torch.rand(400_000, 3, generator=torch.Generator().manual_seed(4)).double() * 6 - 3

    def inside(item):
        local = points - item.center
        cosine, sine = torch.cos(item.yaw), torch.sin(item.yaw)
        local = torch.stack(
            (
                local[:, 0] * cosine - local[:, 2] * sine,
                local[:, 0] * sine + local[:, 2] * cosine,
                local[:, 1],
            ),
            dim=-1,
        )
        return (local.abs() <= item.size / 2).all(-1)

    in_a, in_b = inside(a), inside(b)
    expected = ((in_a & in_b).sum() / (in_a | in_b).sum()).item()
    assert volume_iou(a, b).item() == pytest.approx(expected, abs=0.005)


def test_all_pairs_come_from_broadcasting():
    a, b = random_boxes(3, seed=5), random_boxes(4, seed=6)
    rows = Boxes3D(a.center[:, None], a.size[:, None], a.yaw[:, None])
    table = volume_iou(rows, b)
    assert table.shape == (3, 4)
    torch.testing.assert_close(table[1, 2], volume_iou(pick(a, 1), pick(b, 2)))
    assert volume_iou(rows, pick(b, slice(0, 0))).shape == (3, 0)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-4, 4))
def test_bev_iou_is_symmetric_and_independent_of_the_frame(x, z, length, width, yaw):
    a, b = box(), box(x=x, z=z, length=length, width=width, yaw=yaw)
    iou = bev_iou(a, b).item()
    assert 0 <= iou <= 1 + 1e-12
    assert bev_iou(b, a).item() == pytest.approx(iou, abs=1e-9)
    turn, cosine, sine = 0.7, math.cos(0.7), math.sin(0.7)
    moved = box(
        x=x * cosine + z * sine + 3,
        z=-x * sine + z * cosine + 30,
        length=length,
        width=width,
        yaw=yaw + turn,
    )
    assert bev_iou(box(x=3.0, z=30.0, yaw=turn), moved).item() == pytest.approx(iou, abs=1e-9)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 7 / 9), (4, 1 / 3), (8, 0)])
def test_tolerant_iou_falls_with_the_error_up_to_twice_the_size(shift, expected):
    assert tolerant_iou(box(), box(x=shift)).item() == pytest.approx(expected)
