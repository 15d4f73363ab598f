"""Geometric reasoning module: positions from keypoint rays (docs/design.md, Mathematics)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

REFINEMENTS = 2
"""Gauss-Newton steps of the "consistent" method. Two steps remove the bias."""

_NEAREST = 0.1
"""Least depth of a keypoint in metres. Objects with a nearer keypoint are not refined."""


def solve(
    rays: Tensor,
    offsets: Tensor,
    weights: Tensor | None = None,
    method: str = "consistent",
) -> Tensor:
    """Position of each object from the rays of its keypoints.

    A keypoint at `center + offset` on the ray (u, v) satisfies X = u Z + a and Y = v Z + b with
    a = u dz - dx and b = v dz - dy. Least squares over the keypoints has a closed form. Its depth
    is too small for distant objects, because noise of u and v increases the spread of the rays.
    "consistent" removes this bias: it starts from the closed form and minimises the reprojection
    error with Gauss-Newton steps. An object that is not entirely in front of the camera keeps its
    closed-form position.

    An object with fewer than two distinct finite rays is degenerate. Its position is NaN with
    gradient zero. Other objects are not affected.

    Args:
        rays: (..., K, 2) x/z, y/z of the keypoints. Non-finite rays are left out.
        offsets: (..., K, 3) metres from the object's centre to its keypoints.
        weights: (..., K) relative inverse variances. 0 drops a keypoint. None weights all
            keypoints equally.
        method: "consistent", or "published": least squares over the first eight keypoints.

    Returns:
        (..., 3) metres, the centres in the frame of the rays.

    >>> offsets = torch.tensor([[2.0, 0.5, 1.0], [-2.0, -0.5, -1.0]])
    >>> points = torch.tensor([3.0, 1.0, 20.0]) + offsets
    >>> solve(points[:, :2] / points[:, 2:], offsets).round(decimals=4).tolist()
    [3.0, 1.0, 20.0]
    """
    if method not in ("consistent", "published"):
        raise ValueError(f"method must be 'consistent' or 'published', got {method!r}")
    if method == "published":
        rays, offsets = rays[..., :8, :], offsets[..., :8, :]
        weights = None if weights is None else weights[..., :8]
    seen = rays.isfinite().all(-1)
    weights = torch.where(seen, 1 if weights is None else weights, 0).to(rays.dtype)
    rays = torch.where(seen[..., None], rays, 0)

    center, determined = _locate(rays, offsets, weights, REFINEMENTS * (method == "consistent"))
    return torch.where(determined[..., None], center, math.nan)


def box_covariance(
    center: Tensor,
    keypoint_noise: Tensor,
    size_noise: Tensor | float,
    yaw_noise: Tensor | float,
) -> Tensor:
    """Covariance (..., 4, 4) of x, y, z, yaw of a box (docs/design.md, Mathematics).

    The errors of the keypoints of one object are strongly correlated. Their common part moves the
    box across its ray. An error of their spread acts like a relative error of the size: it moves
    the box along its ray by the same factor. The covariance is positive definite, up to rounding,
    if the noise is positive.

    Args:
        center: (..., 3) metres, in the frame of the rays.
        keypoint_noise: (..., 2) standard deviations of the common error of u and v, in ray units.
        size_noise: relative standard deviation of the size and of the spread of the keypoints; a
            positive number or tensor (...).
        yaw_noise: standard deviation of the yaw in radians; a positive number or tensor (...).
    """
    size_noise, yaw_noise = (
        torch.as_tensor(noise, dtype=center.dtype, device=center.device)
        for noise in (size_noise, yaw_noise)
    )
    across = keypoint_noise * center[..., 2:]
    yaw = yaw_noise.expand(center.shape[:-1])[..., None]
    independent = torch.cat((across, torch.zeros_like(yaw), yaw), dim=-1)
    along = torch.nn.functional.pad(center * size_noise[..., None], (0, 1))
    unit = torch.eye(4, dtype=center.dtype, device=center.device)
    return independent.square()[..., None] * unit + along[..., None] * along[..., None, :]


def _locate(
    rays: Tensor, offsets: Tensor, weights: Tensor, refinements: int
) -> tuple[Tensor, Tensor]:
    """Centres (..., 3), finite also for degenerate objects, and whether they are determined."""
    # Shear the frame so that the mean ray becomes its depth axis. The solution depends on
    # differences of rays, which are about a hundredth of the rays, so float32 would lose digits.
    mean_ray = _mean(rays, _shares(weights))
    rays = rays - mean_ray[..., None, :]
    offsets = _shear(offsets, mean_ray[..., None, :])
    center, spread = _fit_point(rays, offsets, weights)
    for _ in range(refinements):
        center = center + _gauss_newton_step(center, rays, offsets, weights)
    return _shear(center, -mean_ray), spread > _least_spread(rays)


def _gauss_newton_step(center: Tensor, rays: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Change of the centre (..., 3) that reduces the weighted squared reprojection error."""
    predicted, depth = _reproject(center, offsets)
    error = torch.nn.functional.pad((predicted - rays) * depth[..., None], (0, 1))
    step, _ = _fit_point(predicted, error, weights / depth.square())
    in_front = ((depth > _NEAREST) | (weights == 0)).all(-1, keepdim=True)
    return torch.where(in_front, step, 0)


def _reproject(center: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rays (..., K, 2) and depths (..., K) of the keypoints of an object at `center`."""
    points = center[..., None, :] + offsets
    depth = points[..., 2].clamp(min=_NEAREST)
    return points[..., :2] / depth[..., None], depth


def _fit_point(rays: Tensor, offsets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (..., 3) whose keypoints are closest to their rays, measured in x and y.

    Closed form of the weighted least squares of X + dx - u (Z + dz) and Y + dy - v (Z + dz).

    Returns:
        The centre, finite also for degenerate objects, and the variance of the rays (...).
    """
    shares = _shares(weights)
    intercepts = rays * offsets[..., 2:] - offsets[..., :2]
    mean_ray, mean_intercept = _mean(rays, shares), _mean(intercepts, shares)
    rays = rays - mean_ray[..., None, :]
    spread = _mean(rays.square(), shares).sum(-1)
    product = _mean(rays * (intercepts - mean_intercept[..., None, :]), shares).sum(-1)
    z = -product / torch.where(spread > _least_spread(rays), spread, 1)
    return torch.cat((mean_ray * z[..., None] + mean_intercept, z[..., None]), dim=-1), spread


def _shear(points: Tensor, ray: Tensor) -> Tensor:
    """Points (..., 3) in the frame whose depth axis is the ray (..., 2). z does not change."""
    return torch.cat((points[..., :2] - ray * points[..., 2:], points[..., 2:]), dim=-1)


def _shares(weights: Tensor) -> Tensor:
    """Weights (..., K) divided by their sum; zero if all weights are zero."""
    return _safe_divide(weights, weights.sum(-1, keepdim=True))


def _mean(values: Tensor, shares: Tensor) -> Tensor:
    return (shares[..., None] * values).sum(-2)


def _safe_divide(dividend: Tensor, divisor: Tensor) -> Tensor:
    """Quotient if the divisor is positive, else the dividend. Its gradient is finite."""
    return dividend / torch.where(divisor > 0, divisor, 1)


def _least_spread(rays: Tensor) -> float:
    """Variance of the rays up to which they are equal within rounding errors."""
    return (64 * torch.finfo(rays.dtype).eps) ** 2
