"""Lens distortion models of sensor_msgs/CameraInfo, as OpenCV defines them.

They map pinhole rays to distorted rays, both (..., 2) arrays of x/z, y/z. Coefficients are plain
floats, so that results keep the dtype of the rays. A new model needs an entry in `COEFFICIENTS`
and a branch in `distort`, `undistort` and `largest_radius`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

COEFFICIENTS = {"": 0, "plumb_bob": 5, "rational_polynomial": 14, "equidistant": 4}
"""Number of coefficients of each distortion model, by its ROS name."""

ALIASES = {
    "none": "",
    "radtan": "plumb_bob",
    "radial_tangential": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "rational": "rational_polynomial",
    "fisheye": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
    "equi": "equidistant",
    "kb4": "equidistant",
}
"""Names of the same models in Kalibr, OpenCV, RealSense and others."""

_ITERATIONS = 12


def ros_name(model: str) -> str | None:
    """The ROS name of a distortion model under any of its names; None for an unknown one.

    >>> ros_name("Kannala-Brandt")
    'equidistant'
    """
    name = model.strip().lower().replace("-", "_").replace(" ", "_")
    name = ALIASES.get(name, name)
    return name if name in COEFFICIENTS else None


def distort(rays: np.ndarray, model: str, coefficients: Sequence[float]) -> np.ndarray:
    """Distort pinhole rays (..., 2); valid only for rays for which `images` is true.

    Args:
        rays: x/z, y/z of the scene points.
        model: a key of `COEFFICIENTS`.
        coefficients: in the order of CameraInfo.d; as many as the model has.
    """
    if model == "":
        return rays
    if model == "equidistant":
        return _distort_equidistant(rays, coefficients)
    bent = _distort_polynomial(rays, coefficients)[0]
    return bent if _is_upright(coefficients) else _map(bent, _tilt(*coefficients[12:]))


def undistort(rays: np.ndarray, model: str, coefficients: Sequence[float]) -> np.ndarray:
    """The inverse of `distort`: pinhole rays (..., 2) of distorted rays.

    Newton iterations that start at the distorted ray. The result is NaN if there is no such ray in
    the region in which the model is one-to-one.
    """
    if model == "":
        return rays
    if model == "equidistant":
        return _undistort_equidistant(rays, coefficients)
    if not _is_upright(coefficients):
        rays = _map(rays, np.linalg.inv(_tilt(*coefficients[12:])))
    return _undistort_polynomial(rays, coefficients)


def images(rays: np.ndarray, model: str, coefficients: Sequence[float]) -> np.ndarray:
    """Whether rays (..., 2) lie in the region in which the lens model is one-to-one; (...) bool.

    Outside this region the polynomials fold back or have a pole. A real lens does neither: the
    model was fitted to rays inside the region.
    """
    limit = largest_radius(model, tuple(coefficients))
    return (rays**2).sum(-1) < limit * limit


@lru_cache(maxsize=64)
def largest_radius(model: str, coefficients: tuple[float, ...]) -> float:
    """Distance from the axis, in units of pinhole rays, up to which the model is one-to-one.

    This is the smallest radius at which the distorted radius stops growing or, for the rational
    model, the denominator is zero. The small tangential and thin prism terms are left out.
    """
    if model == "":
        return math.inf
    if model == "equidistant":
        slope = [1, *(k * n for k, n in zip(coefficients, (3, 5, 7, 9), strict=True))]
        angle = math.sqrt(_first_root(np.array(slope)))
        return math.tan(angle) if angle < math.pi / 2 else math.inf
    k1, k2, _, _, k3, k4, k5, k6 = [*coefficients, *[0.0] * 3][:8]
    above, below = np.array([1, k1, k2, k3]), np.array([1, k4, k5, k6])
    # The derivative of r N(s) / D(s) by r, with s = r², is zero where this is:
    # N D + 2 s (N' D - N D').
    products = np.convolve(above, below)
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.arange(4)
        turning = products + 2 * (
            np.convolve(above * powers, below) - np.convolve(above, below * powers)
        )
        return math.sqrt(min(_first_root(turning), _first_root(below)))


def _first_root(polynomial: np.ndarray) -> float:
    """Smallest positive root of coefficients in ascending order; 0 where they overflow."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            roots = np.roots(polynomial[::-1])
    except np.linalg.LinAlgError:
        return 0.0
    positive = roots.real[(roots.imag == 0) & (roots.real > 0)]
    return float(positive.min(initial=math.inf))


def _distort_polynomial(
    rays: np.ndarray, coefficients: Sequence[float]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Distorted rays, without tilt, and the entries xx, xy, yx, yy of the Jacobian."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = [*coefficients, *[0.0] * 7][:12]
    x, y = rays[..., 0], rays[..., 1]
    r2 = x * x + y * y
    above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    slope = (
        k1 + r2 * (2 * k2 + r2 * 3 * k3) - radial * (k4 + r2 * (2 * k5 + r2 * 3 * k6))
    ) / below
    distorted = np.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4),
        ),
        axis=-1,
    )
    prism_x, prism_y = 2 * (s1 + 2 * r2 * s2), 2 * (s3 + 2 * r2 * s4)
    mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    jacobian = (
        radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x + prism_x * x,
        mixed + prism_x * y,
        mixed + prism_y * x,
        radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x + prism_y * y,
    )
    return distorted, jacobian


def _undistort_polynomial(rays: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    limit = largest_radius("rational_polynomial", tuple(coefficients))
    guess = _shortened(rays, 0.9 * limit)
    for _ in range(_ITERATIONS):
        distorted, (xx, xy, yx, yy) = _distort_polynomial(guess, coefficients)
        error_x, error_y = np.moveaxis(distorted - rays, -1, 0)
        determinant = xx * yy - xy * yx
        step = np.stack((yy * error_x - xy * error_y, xx * error_y - yx * error_x), axis=-1)
        guess = _shortened(guess - step / determinant[..., None], (_norm(guess) + limit) / 2)
    distorted, (xx, xy, yx, yy) = _distort_polynomial(guess, coefficients)
    # Tangential terms may turn back before the radial ones do.
    unfolded = (xx > 0) & (xx * yy > xy * yx) & ((guess**2).sum(-1) < limit * limit)
    return _where_found(guess, unfolded & _close(distorted, rays).all(-1))


def _distort_equidistant(rays: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    radius = _norm(rays)
    bent, _ = _bend_angle(np.arctan(radius), coefficients)
    return rays * (bent / radius)


def _undistort_equidistant(rays: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    limit = math.atan(largest_radius("equidistant", tuple(coefficients)))
    target = _norm(rays)
    angle = np.minimum(target, 0.9 * limit)
    for _ in range(_ITERATIONS):
        bent, slope = _bend_angle(angle, coefficients)
        angle = np.minimum(angle - (bent - target) / slope, (angle + limit) / 2)
    bent, _ = _bend_angle(angle, coefficients)
    found = (angle < limit) & _close(bent, target)
    return _where_found(rays * (np.tan(angle) / target), found[..., 0])


def _bend_angle(angle: np.ndarray, coefficients: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The angle behind the lens and its derivative by the angle in front of it."""
    k1, k2, k3, k4 = coefficients
    a2 = angle * angle
    bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
    return bent, slope


def _is_upright(coefficients: Sequence[float]) -> bool:
    """Whether the sensor is parallel to the lens."""
    return not any(coefficients[12:])


def _tilt(around_x: float, around_y: float) -> np.ndarray:
    """The projective map (3, 3) of a tilted sensor, from its two angles (OpenCV, calib3d)."""
    sin_x, cos_x = math.sin(around_x), math.cos(around_x)
    sin_y, cos_y = math.sin(around_y), math.cos(around_y)
    turn_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    turn_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = turn_y @ turn_x
    onto_plane = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]])
    return onto_plane @ turn


def _map(rays: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rays through a projective map (3, 3); NaN where they end behind the sensor."""
    x, y = rays[..., 0], rays[..., 1]
    u, v, w = (a * x + b * y + c for a, b, c in matrix.tolist())
    return np.stack((u, v), axis=-1) / np.where(w > 0, w, math.nan)[..., None]


def _shortened(rays: np.ndarray, longest: np.ndarray | float) -> np.ndarray:
    """Rays no longer than `longest`, a number or (..., 1)."""
    radius = _norm(rays)
    return np.where(radius > longest, rays * (longest / radius), rays)


def _norm(rays: np.ndarray) -> np.ndarray:
    squares = (rays**2).sum(-1, keepdims=True)
    return np.sqrt(np.maximum(squares, np.finfo(rays.dtype).tiny))


def _close(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(found - wanted) < 1e-4


def _where_found(rays: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.where(found[..., None], rays, math.nan)
