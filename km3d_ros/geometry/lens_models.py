"""Lens distortion models of sensor_msgs/CameraInfo on pinhole rays (design, section 6).

Rays are (..., 2) tensors of x/z, y/z; coefficients are plain floats, so that results keep the
dtype and the device of the rays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

COEFFICIENTS = {"": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""Number of coefficients of each distortion model, by its ROS name."""

_ITERATIONS = 12


def distort(rays: Tensor, model: str, coefficients: Sequence[float]) -> Tensor:
    """Bend pinhole rays (..., 2) as the lens does.

    Args:
        rays: x/z, y/z of the scene points.
        model: a key of `COEFFICIENTS`.
        coefficients: in the order of CameraInfo.d; as many as the model has.
    """
    if model == "":
        return rays
    if model == "equidistant":
        return _distort_equidistant(rays, coefficients)
    return _distort_polynomial(rays, coefficients)[0]


def undistort(rays: Tensor, model: str, coefficients: Sequence[float]) -> Tensor:
    """Find the pinhole rays (..., 2) that the lens bends to `rays`; the inverse of `distort`.

    Newton iterations from the bent ray. Where the lens model reaches no such ray (far outside
    the image), the result is NaN.
    """
    if model == "":
        return rays
    if model == "equidistant":
        return _undistort_equidistant(rays, coefficients)
    return _undistort_polynomial(rays, coefficients)


def _distort_polynomial(
    rays: Tensor, coefficients: Sequence[float]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Distorted rays and the entries xx, xy, yy of the (symmetric) Jacobian."""
    k1, k2, p1, p2, k3, k4, k5, k6 = [*coefficients, 0.0, 0.0, 0.0][:8]
    x, y = rays.unbind(-1)
    r2 = x * x + y * y
    above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    slope = (
        k1 + r2 * (2 * k2 + r2 * 3 * k3) - radial * (k4 + r2 * (2 * k5 + r2 * 3 * k6))
    ) / below
    distorted = torch.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ),
        dim=-1,
    )
    jacobian = (
        radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x,
        2 * x * y * slope + 2 * p1 * x + 2 * p2 * y,
        radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x,
    )
    return distorted, jacobian


def _undistort_polynomial(rays: Tensor, coefficients: Sequence[float]) -> Tensor:
    guess = rays
    for _ in range(_ITERATIONS):
        distorted, (xx, xy, yy) = _distort_polynomial(guess, coefficients)
        error_x, error_y = (distorted - rays).unbind(-1)
        determinant = xx * yy - xy * xy
        step = torch.stack((yy * error_x - xy * error_y, xx * error_y - xy * error_x), dim=-1)
        guess = guess - step / determinant[..., None]
    distorted, (xx, xy, yy) = _distort_polynomial(guess, coefficients)
    # Beyond the radius where the polynomial turns back, a root exists but is not what was seen.
    unfolded = (xx > 0) & (xx * yy > xy * xy)
    return _where_found(guess, unfolded & _close(distorted, rays).all(-1))


def _distort_equidistant(rays: Tensor, coefficients: Sequence[float]) -> Tensor:
    radius = _norm(rays)
    bent, _ = _bend_angle(torch.atan(radius), coefficients)
    return rays * (bent / radius)


def _undistort_equidistant(rays: Tensor, coefficients: Sequence[float]) -> Tensor:
    target = _norm(rays)
    angle = target
    for _ in range(_ITERATIONS):
        bent, slope = _bend_angle(angle, coefficients)
        angle = angle - (bent - target) / slope
    bent, slope = _bend_angle(angle, coefficients)
    found = (slope > 0) & (angle < math.pi / 2) & _close(bent, target)
    return _where_found(rays * (torch.tan(angle) / target), found[..., 0])


def _bend_angle(angle: Tensor, coefficients: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The angle behind the lens and its derivative by the angle in front of it."""
    k1, k2, k3, k4 = coefficients
    a2 = angle * angle
    bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
    return bent, slope


def _norm(rays: Tensor) -> Tensor:
    smallest = torch.finfo(rays.dtype).tiny
    return rays.square().sum(-1, keepdim=True).clamp(min=smallest).sqrt()


def _close(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).abs() < 1e-4


def _where_found(rays: Tensor, found: Tensor) -> Tensor:
    return torch.where(found[..., None], rays, math.nan)
