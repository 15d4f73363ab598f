import math

import numpy as np
import pytest
import torch

from km3d_ros.geometry.box3d import Boxes3D, keypoint_offsets, keypoints
from km3d_ros.geometry.grm import box_covariance, solve

FOCAL = 721.5


def cars(count, near, far, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    depth = near + (far - near) * torch.rand(count, generator=rng, dtype=dtype)
    across = (torch.rand(count, generator=rng, dtype=dtype) - 0.5) * 1.6 * depth
    below = 1 + torch.rand(count, generator=rng, dtype=dtype)
    spread = torch.randn(count, 3, generator=rng, dtype=dtype)
    return Boxes3D(
        center=torch.stack((across, below, depth), dim=-1),
        size=torch.tensor([3.88, 1.63, 1.53], dtype=dtype) * (1 + 0.05 * spread),
        yaw=(torch.rand(count, generator=rng, dtype=dtype) - 0.5) * 2 * math.pi,
    )


def view(boxes):
    points = keypoints(boxes)
    return points[..., :2] / points[..., 2:], keypoint_offsets(boxes.size, boxes.yaw)


def noisy_view(boxes, pixels, seed=1):
    rays, offsets = view(boxes)
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(rays.shape, generator=rng, dtype=rays.dtype)
    return rays + noise * pixels / FOCAL, offsets


def linear_least_squares(rays, offsets):
    """X - u Z = a, Y - v Z = b for one object, solved by QR in numpy."""
    rows, right = [], []
    for (u, v), (dx, dy, dz) in zip(rays.tolist(), offsets.tolist(), strict=True):
        rows += [[1, 0, -u], [0, 1, -v]]
        right += [u * dz - dx, v * dz - dy]
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


def minimal_reprojection_error(rays, offsets, weights, start):
    """Gauss-Newton with numpy's solver until it stands still."""
    center = np.array(start)
    rays, offsets, scale = rays.numpy(), offsets.numpy(), np.sqrt(weights.numpy())
    for _ in range(50):
        x, y, z = (center + offsets).T
        error = np.concatenate([(x / z - rays[:, 0]) * scale, (y / z - rays[:, 1]) * scale])
        zero = np.zeros_like(z)
        rows = np.concatenate(
            [np.stack([1 / z, zero, -x / z**2], 1), np.stack([zero, 1 / z, -y / z**2], 1)]
        ) * np.tile(scale, 2).reshape(-1, 1)
        center = center - np.linalg.lstsq(rows, error, rcond=None)[0]
    return center


@pytest.mark.parametrize("method", ["published", "consistent"])
def test_noiseless_position_is_exact(method):
    boxes = cars(2000, 4, 70)
    rays, offsets = view(boxes)
    assert (solve(rays, offsets, method=method) - boxes.center).abs().max() < 1e-9


def test_published_form_equals_an_exact_solver_on_noisy_keypoints():
    rays, offsets = noisy_view(cars(50, 4, 70), pixels=2)
    expected = [linear_least_squares(r[:8], o[:8]) for r, o in zip(rays, offsets, strict=True)]
    found = solve(rays, offsets, method="published")
    assert np.abs(found.numpy() - np.array(expected)).max() < 1e-9


def test_consistent_form_minimises_the_weighted_reprojection_error():
    rays, offsets = noisy_view(cars(30, 4, 50), pixels=1)
    weights = 0.1 + torch.rand(rays.shape[:-1], generator=torch.Generator().manual_seed(2))
    found = solve(rays, offsets, weights.double())
    for i in range(len(rays)):
        center = minimal_reprojection_error(
            rays[i], offsets[i], weights[i].double(), found[i].numpy()
        )
        assert np.abs(found[i].numpy() - center).max() < 1e-4 * center[2]


@pytest.mark.parametrize("method", ["published", "consistent"])
def test_single_precision_stays_within_a_fifth_of_a_millimetre_up_to_70_metres(method):
    boxes = cars(5000, 4, 70)
    rays, offsets = view(boxes)
    found = solve(rays.float(), offsets.float(), method=method)
    assert found.dtype == torch.float32
    assert (found.double() - boxes.center).abs().max() < 2e-4


def test_two_keypoints_determine_the_position():
    boxes = cars(200, 4, 70)
    rays, offsets = view(boxes)
    weights = torch.zeros(9, dtype=torch.float64)
    weights[[0, 6]] = 1
    rays = torch.where(weights[:, None] > 0, rays, 7.0)
    assert (solve(rays, offsets, weights) - boxes.center).abs().max() < 1e-8


def test_dropped_keypoint_equals_an_absent_one():
    rays, offsets = noisy_view(cars(50, 4, 70), pixels=2)
    weights = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 1, 1], dtype=torch.float64)
    dropped, absent = (
        solve(rays, offsets, weights),
        solve(rays[:, weights > 0], offsets[:, weights > 0]),
    )
    torch.testing.assert_close(dropped, absent)


def test_unknown_ray_is_left_out():
    boxes = cars(20, 4, 70)
    rays, offsets = view(boxes)
    rays[:, 2, 0] = math.nan
    rays[:, 5] = math.inf
    assert (solve(rays, offsets) - boxes.center).abs().max() < 1e-9


def depth_bias(yaw, method):
    count = 50_000
    boxes = Boxes3D(
        center=torch.tensor([5.0, 1.0, 60.0], dtype=torch.float64).expand(count, 3),
        size=torch.tensor([3.88, 1.63, 1.53], dtype=torch.float64).expand(count, 3),
        yaw=torch.full((count,), yaw, dtype=torch.float64),
    )
    depth = solve(*noisy_view(boxes, pixels=2), method=method)[:, 2]
    return depth.median().item() / 60 - 1


def test_published_form_pulls_far_cars_closer_and_the_consistent_form_does_not():
    for yaw, low, high in ((-math.pi / 2, -0.045, -0.03), (-1.0, -0.03, -0.015)):
        assert low < depth_bias(yaw, "published") < high
        assert abs(depth_bias(yaw, "consistent")) < 0.005


def test_degenerate_object_is_not_finite_and_the_others_stay():
    rays, offsets = view(cars(3, 4, 70, dtype=torch.float32))
    alone = solve(rays[2], offsets[2])
    rays[0] = rays[0, 0]
    found = solve(rays, offsets, torch.tensor([[1.0] * 9, [0.0] * 9, [1.0] * 9]))
    assert found.isnan().all(-1).tolist() == [True, True, False]
    torch.testing.assert_close(found[2], alone)


def test_degenerate_object_has_zero_gradient():
    rays, offsets = view(cars(2, 4, 70))
    rays[0] = rays[0, 0]
    rays.requires_grad_()
    solve(rays, offsets)[1].sum().backward()
    assert (rays.grad[0] == 0).all()
    assert rays.grad[1].isfinite().all()
    assert (rays.grad[1] != 0).any()


def test_object_around_the_camera_keeps_its_closed_form_position():
    boxes = Boxes3D(
        center=torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64),
        size=torch.tensor([4.0, 1.6, 1.5], dtype=torch.float64),
        yaw=torch.tensor(-math.pi / 2, dtype=torch.float64),
    )
    rays, offsets = view(boxes)
    rays = rays + 0.001 * torch.arange(9)[:, None]
    expected = linear_least_squares(rays, offsets)
    np.testing.assert_allclose(solve(rays, offsets), expected, atol=1e-9)


def test_position_is_differentiable():
    rays, offsets = noisy_view(cars(3, 10, 20), pixels=1)
    weights = torch.tensor([1.0, 0, 1, 0.5, 1, 1, 1, 1, 1], dtype=torch.float64).expand(3, 9)
    inputs = (rays.requires_grad_(), offsets.requires_grad_())
    for method in ("published", "consistent"):
        assert torch.autograd.gradcheck(lambda r, o, m=method: solve(r, o, weights, m), inputs)


def test_shapes_follow_the_batch():
    rays, offsets = view(cars(6, 4, 70, dtype=torch.float32))
    found = solve(rays.reshape(2, 3, 9, 2), offsets.reshape(2, 3, 9, 3))
    assert found.shape == (2, 3, 3)
    assert solve(rays[:0], offsets[:0]).shape == (0, 3)


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'consistent' or 'published', got 'fast'"):
        solve(torch.zeros(1, 9, 2), torch.zeros(1, 9, 3), method="fast")


def test_positions_scatter_as_the_box_covariance_says():
    boxes = cars(1, 30, 30)
    count, keypoint_noise, size_noise = 50_000, torch.tensor([2.0, 0.7]).double() / FOCAL, 0.04
    rays, offsets = view(boxes)
    rng = torch.Generator().manual_seed(1)
    shift = torch.randn(count, 1, 2, generator=rng, dtype=rays.dtype) * keypoint_noise
    factor = 1 + size_noise * torch.randn(count, 1, 1, generator=rng, dtype=rays.dtype)
    scatter = torch.cov(solve(rays + shift, offsets * factor).T)
    expected = box_covariance(boxes.center, keypoint_noise, size_noise, 0.1)[0]
    deviations = expected.diagonal()[:3].sqrt()
    scale = torch.outer(deviations, deviations)
    torch.testing.assert_close(scatter / scale, expected[:3, :3] / scale, rtol=0, atol=0.03)
    torch.testing.assert_close(expected[3], torch.tensor([0, 0, 0, 0.01]).double())


def test_box_covariance_has_the_noise_of_each_object():
    center = torch.tensor([[0.0, 0, 10], [0, 0, 20]])
    keypoint_noise = torch.tensor([[0.01, 0.02], [0.03, 0.04]])
    covariance = box_covariance(
        center, keypoint_noise, torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])
    )
    expected = torch.tensor([[0.1, 0.2, 1, 0.3], [0.6, 0.8, 4, 0.4]]).square()
    torch.testing.assert_close(covariance, torch.diag_embed(expected))
