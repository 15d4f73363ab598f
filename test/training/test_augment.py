import math

import numpy as np
import pytest
import torch

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.training.augment import (
    SCALE,
    SHIFT,
    kept_keypoints,
    mirrored,
    random_view,
    recoloured,
)

PROJECTION = np.array([[900.0, 0, 610, 45], [0, 880, 190, 3], [0, 0, 1, 0.003]])
ITEM = KittiObject(
    "Car", 0.0, 0, 0.3, (500.0, 150.0, 620.0, 220.0), (3.9, 1.6, 1.5), (-2.0, 0.8, 20.0), 0.4
)


def pixels_of(projection: np.ndarray, item: KittiObject) -> torch.Tensor:
    camera = CameraModel.from_projection(torch.from_numpy(projection), 1280, 384)
    box = Boxes3D(
        *(torch.tensor(v, dtype=torch.float64) for v in (item.center, item.size, item.yaw))
    )
    return camera.project(keypoints(box))


def test_mirrored_box_projects_to_mirrored_pixels():
    image = np.zeros((384, 1280, 3), np.uint8)
    _, projection, (item,) = mirrored(image, PROJECTION, [ITEM])
    expected = pixels_of(PROJECTION, ITEM)
    expected[:, 0] = 1279 - expected[:, 0]
    # A mirror swaps left and right corners; the front stays the front.
    torch.testing.assert_close(pixels_of(projection, item), expected[[1, 0, 3, 2, 5, 4, 7, 6, 8]])


def test_mirrored_twice_is_the_same_frame():
    image = np.random.default_rng(0).integers(0, 255, (384, 1280, 3)).astype(np.uint8)
    twice = mirrored(*mirrored(image, PROJECTION, [ITEM]))
    assert (twice[0] == image).all()
    np.testing.assert_allclose(twice[1], PROJECTION)
    assert np.isclose(twice[2][0].yaw, ITEM.yaw)
    np.testing.assert_allclose(twice[2][0].box2d, ITEM.box2d)


def test_mirrored_camera_has_the_mirrored_principal_point_and_baseline():
    image = np.zeros((384, 1280, 3), np.uint8)
    _, projection, (item,) = mirrored(image, PROJECTION, [ITEM])
    before, after = (CameraModel.from_projection(p, 1280, 384) for p in (PROJECTION, projection))
    assert (after.fx, after.fy, after.cy) == (before.fx, before.fy, before.cy)
    assert after.cx == 1280 - 1 - before.cx
    np.testing.assert_allclose(after.translation, before.translation * [-1, 1, 1])
    assert item.center == (2.0, 0.8, 20.0)
    # A car that drives to the right and away drives to the left and away in the mirror.
    assert np.isclose(item.yaw, np.pi - 0.4)
    assert np.isclose(item.alpha, np.pi - 0.3)


def test_random_view_scales_about_the_centre_of_the_input():
    scales = []
    for seed in range(200):
        view = random_view(np.random.default_rng(seed), 192, 640)
        scale = view[0, 0]
        scales.append(scale)
        assert SCALE[0] <= scale <= SCALE[1]
        assert view[1, 1] == view[0, 0]
        moved = view[:, :2] @ (320, 96) + view[:, 2] - (320, 96)
        assert (np.abs(moved) <= np.array([640, 192]) * SHIFT + 1e-9).all()
    assert (min(scales), max(scales)) == pytest.approx((0.6, 1.3), abs=0.02)


@pytest.mark.parametrize("dropout", [0.2, 0.6])
def test_keypoints_are_dropped_at_the_asked_rate(dropout):
    kept = kept_keypoints(4000, dropout, np.random.default_rng(0))
    assert kept.shape == (4000, 9)
    assert kept.dtype == torch.bool
    # Objects that would have kept less than two get the missing ones back.
    chances = [math.comb(9, n) * (1 - dropout) ** n * dropout ** (9 - n) for n in (0, 1)]
    expected = 1 - dropout + (2 * chances[0] + chances[1]) / 9
    assert kept.float().mean().item() == pytest.approx(expected, abs=0.01)
    torch.testing.assert_close(kept.float().mean(0), torch.full((9,), expected), atol=0.03, rtol=0)
    assert kept.sum(1).min() >= 2


def test_two_keypoints_always_stay():
    kept = kept_keypoints(300, 1.0, np.random.default_rng(0))
    assert (kept.sum(1) == 2).all()
    assert kept.any(0).all()


def test_no_dropout_keeps_all_keypoints():
    assert kept_keypoints(50, 0.0, np.random.default_rng(0)).all()
    assert kept_keypoints(0, 0.5, np.random.default_rng(0)).shape == (0, 9)


def test_recoloured_image_keeps_its_shape_and_changes_its_levels():
    image = np.full((4, 5, 3), 100, np.uint8)
    changed = recoloured(image, np.random.default_rng(1))
    assert changed.shape == image.shape
    assert (changed == changed[0, 0]).all()
    assert (changed[0, 0] != 100).any()
