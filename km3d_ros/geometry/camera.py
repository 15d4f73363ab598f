"""A calibrated camera: pixels to rays and points to pixels (docs/design.md, Mathematics)."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from km3d_ros.errors import InputError, naming
from km3d_ros.geometry import lens_models
from km3d_ros.geometry.level import angles_of, check_pitch

MAX_RATIO = 1000.0
"""Largest focal length and principal point, relative to the size of the image."""

MAX_SKEW = 0.05
"""Largest K[0, 1] and K[1, 0], relative to the focal length. Real cameras stay below 1 %."""

MAX_TILT = 1.0
"""Largest tilt of the sensor in the rational model, in radians. Tilt lenses reach 0.2."""

MAX_TRANSLATION = 1000.0
"""Largest translation t of P = K [I | t], in metres."""

ORTHONORMAL_WITHIN = 1e-3
"""Largest error of a rotation matrix: calibrations are written with few digits."""

_STEEPEST_RAY = 100.0
"""Slope of the rays, almost beside the camera, up to which pixels are computed."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera: projection, lens and image size.

    The camera frame is the optical frame of REP 103 (x right, y down, z forward). Pixel (0, 0) is
    the centre of the top-left pixel. As in image_geometry, a raw image and its rectified image
    have the same camera frame. A point `p` of the camera frame is projected in four steps:
    `q = p + translation` is its position in the frame of the rays, which start at the origin;
    `rotationᵀ q` is in front of the lens; the lens bends the ray; K maps it to a pixel.

    Two cameras with the same numbers compare equal. This class is for one camera, in NumPy.
    `Pinholes` is for batches of cameras inside the network's graph.

    width, height: size of the image in pixels.
    intrinsics: (3, 3) float64, K = [fx s cx; h fy cy; 0 0 1] with small skew s and h.
    translation: (3,) float64, metres; t of P = K [I | t], not zero for a second camera.
    distortion_model: a key of `lens_models.COEFFICIENTS`, "" for a rectified image.
    distortion: float64 coefficients of that model, in the order of CameraInfo.d.
    rotation: (3, 3) float64, R of CameraInfo; the identity for a rectified image.
    level: (3, 3) float64, how the camera is mounted: `level @ p` is a point `p` of the camera
        frame in the level frame, which has the same origin, a horizontal x axis and a y axis
        that points straight down. Roll and pitch only, never yaw: z keeps its heading. The
        identity (the default) means that the camera looks at the horizon and is not rolled.

    Raises:
        InputError: numbers that no camera has.

    >>> camera = CameraModel.from_intrinsics([[700, 0, 640], [0, 700, 192], [0, 0, 1]], 1280, 384)
    >>> camera.rays(np.array([[640.0, 192.0], [1340.0, 192.0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    >>> camera.project(np.array([10.0, 0.0, 10.0])).tolist()
    [1340.0, 192.0]
    """

    width: int
    height: int
    intrinsics: np.ndarray
    translation: np.ndarray
    distortion_model: str
    distortion: np.ndarray
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    level: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        check_intrinsics(self.intrinsics, self.width, self.height)
        _check_pose(self)
        if not np.isfinite(self.distortion).all():
            raise InputError("distortion must be finite, got NaN or infinity")
        tilt = self.distortion[12:].tolist()
        if any(abs(angle) > MAX_TILT for angle in tilt):
            raise InputError(f"tilt of the sensor must be at most {MAX_TILT:g} rad, got {tilt}")
        # The corners of a fisheye image may be black, but not all of these pixels.
        inner = np.array([(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)])
        if not np.isfinite(self.rays(inner * self.size)).any():
            raise InputError(
                f"distortion {self.distortion.tolist()} or R makes no sense: no pixel of the "
                "image sees anything ahead"
            )

    @classmethod
    def from_projection(cls, projection: Any, width: int, height: int) -> CameraModel:
        """A rectified camera from its projection matrix (3, 4), fx ≠ fy and column 4 included."""
        matrix = np.asarray(projection, np.float64)
        return cls(width, height, matrix[:, :3], _translation(matrix), "", np.zeros(0))

    @classmethod
    def from_intrinsics(
        cls,
        intrinsics: Any,
        width: int,
        height: int,
        distortion: Sequence[float] = (),
        distortion_model: str = "",
    ) -> CameraModel:
        """A raw camera from K (3, 3), the size of the image in pixels, and the lens.

        distortion: coefficients; those left out are zero.
        distortion_model: a key of `lens_models.COEFFICIENTS` or `lens_models.ALIASES`.

        Raises:
            InputError: unknown model, or more coefficients than the model has.
        """
        coefficients = [float(value) for value in distortion]
        model = lens_models.ros_name(distortion_model)
        name = reprlib.repr(distortion_model)
        if model is None:
            known = (*lens_models.COEFFICIENTS, *lens_models.ALIASES)
            known = ", ".join(name for name in known if name)
            raise InputError(f"unknown distortion model {name}; known: {known}")
        # An equidistant lens without coefficients is the ideal fisheye, not a pinhole.
        if model != "equidistant" and not any(coefficients):
            model, coefficients = "", []
        count = lens_models.COEFFICIENTS[model]
        if any(coefficients[count:]):
            raise InputError(
                f"distortion model {name} has {count} coefficients, got {len(coefficients)}"
            )
        padded = (coefficients + [0.0] * count)[:count]
        matrix = np.asarray(intrinsics, np.float64)
        return cls(width, height, matrix, np.zeros(3), model, np.array(padded, np.float64))

    @classmethod
    def from_camera_info(cls, info: Any, rectified: bool) -> CameraModel:
        """The camera of a sensor_msgs/CameraInfo.

        P describes a rectified image. K, D, R and the translation in P describe a raw one. R or P
        of zeros only means no rotation or no translation. Matrices are those of the full sensor:
        the region of interest shifts them and binning divides them, as in image_geometry.

        info: a CameraInfo, or any object with its fields.
        rectified: whether the image is rectified (image_rect) or raw.

        Raises:
            InputError: the message does not describe a usable camera; it names the field.
        """
        with naming(f"CameraInfo ({'P' if rectified else 'K, D, R'})"):
            to_image, width, height = _captured(info)
            projection = _matrix(info.p)
            if rectified:
                with np.errstate(invalid="ignore"):
                    projection = to_image @ projection
                return cls.from_projection(projection, width, height)
            camera = cls.from_intrinsics(
                to_image @ _matrix(info.k), width, height, info.d, info.distortion_model
            )
            rotation = _matrix(info.r)
            return replace(
                camera,
                translation=_translation(projection) if projection.any() else camera.translation,
                rotation=rotation if rotation.any() else camera.rotation,
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraModel) and self._numbers == other._numbers

    def __hash__(self) -> int:
        return hash(self._numbers)

    @cached_property
    def _numbers(self) -> tuple[int | str | bytes, ...]:
        values = (getattr(self, item.name) for item in fields(self))
        return tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in values)

    @property
    def size(self) -> np.ndarray:
        """Width and height of the image in pixels, (2,)."""
        return np.array([self.width, self.height])

    @property
    def projection(self) -> np.ndarray:
        """P = K [I | t], (3, 4) float64; with the size it describes a rectified camera."""
        return np.column_stack((self.intrinsics, self.intrinsics @ self.translation))

    @property
    def fx(self) -> float:
        """Horizontal focal length in pixels."""
        return float(self.intrinsics[0, 0])

    @property
    def fy(self) -> float:
        """Vertical focal length in pixels."""
        return float(self.intrinsics[1, 1])

    @property
    def cx(self) -> float:
        """Column of the principal point in pixels."""
        return float(self.intrinsics[0, 2])

    @property
    def cy(self) -> float:
        """Row of the principal point in pixels."""
        return float(self.intrinsics[1, 2])

    @property
    def is_rectified(self) -> bool:
        """Whether the camera is a pinhole parallel to the axes of the camera frame."""
        return not self.distortion_model and np.array_equal(self.rotation, np.eye(3))

    @property
    def is_level(self) -> bool:
        """Whether the frame of the camera is the level frame."""
        return np.array_equal(self.level, np.eye(3))

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Rays (x/z, y/z), (..., 2), through pixels (..., 2).

        Distortion and rotation are undone. Pixels that the lens model does not reach, or whose
        ray points backwards, give NaN.
        """
        bent = unproject(pixels, self.intrinsics)
        with np.errstate(all="ignore"):
            straight = lens_models.undistort(bent, self.distortion_model, self._coefficients)
            ahead = with_depth(straight) @ self.rotation.T.astype(straight.dtype)
            return ahead[..., :2] / np.where(ahead[..., 2:] > 0, ahead[..., 2:], math.nan)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the camera frame; meaningful where z > 0.

        With a lens, they are meaningful only where it `sees` the points.
        """
        return self.to_pixels(self._before_lens(points))

    def sees(self, points: np.ndarray) -> np.ndarray:
        """Whether points (..., 3) are in front of the camera and its lens images them; (...)."""
        return self.images(self._before_lens(points))

    def to_pixels(self, directions: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of directions (..., 3) in front of the lens, after `rotationᵀ`."""
        with np.errstate(all="ignore"):
            rays = directions[..., :2] / directions[..., 2:]
            bent = lens_models.distort(rays, self.distortion_model, self._coefficients)
            k = self.intrinsics.astype(bent.dtype)
            return bent @ k[:2, :2].T + k[:2, 2]

    def images(self, directions: np.ndarray) -> np.ndarray:
        """Whether the lens images directions (..., 3), after `rotationᵀ`; (...)."""
        with np.errstate(all="ignore"):
            rays = directions[..., :2] / directions[..., 2:]
            seen = lens_models.images(rays, self.distortion_model, self._coefficients)
        return (directions[..., 2] > 0) & seen

    def nearest_imaged(self, directions: np.ndarray) -> np.ndarray:
        """Directions (..., 3) in front of the lens, tilted to its edge where they are outside."""
        limit = lens_models.largest_radius(self.distortion_model, tuple(self._coefficients))
        limit = min(0.999 * limit, _STEEPEST_RAY)
        aside = np.linalg.norm(directions[..., :2], axis=-1, keepdims=True)
        inside = aside < limit * directions[..., 2:]
        depth = np.where(inside, directions[..., 2:], np.maximum(aside, 1e-9) / limit)
        return np.concatenate((directions[..., :2], depth), axis=-1)

    @property
    def _coefficients(self) -> list[float]:
        return self.distortion.tolist()

    def _before_lens(self, points: np.ndarray) -> np.ndarray:
        points = _floating(points)
        translation, rotation = (a.astype(points.dtype) for a in (self.translation, self.rotation))
        return (points + translation) @ rotation


def unproject(pixels: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Rays (..., 2) through pixels (..., 2) of a pinhole with K (3, 3), in the pixels' dtype.

    >>> unproject([740.0, 142.0], np.array([[100.0, 0, 640], [0, 50, 192], [0, 0, 1]])).tolist()
    [1.0, -1.0]
    """
    pixels = _floating(pixels)
    inverse = np.linalg.inv(intrinsics[:2, :2]).astype(pixels.dtype)
    return (pixels - intrinsics[:2, 2].astype(pixels.dtype)) @ inverse.T


def check_intrinsics(
    intrinsics: np.ndarray, width: int | None = None, height: int | None = None
) -> None:
    """Refuse an implausible K (3, 3). Limits relative to the image size need this size.

    Raises:
        InputError: names the entry and its limit.
    """
    (fx, skew, cx), (shear, fy, cy), last = intrinsics.tolist()
    sides = [] if width is None or height is None else [(width, fx, cx), (height, fy, cy)]
    if any(side <= 0 for side, _, _ in sides):
        raise InputError(f"image size must be positive, got {width}x{height}")
    if not (fx > 0 and fy > 0):
        raise InputError(
            f"focal lengths must be positive, got fx={fx:g}, fy={fy:g}: is the camera calibrated?"
        )
    if not np.isfinite(intrinsics).all():
        raise InputError("intrinsics must be finite, got NaN or infinity")
    if max(abs(x - y) for x, y in zip(last, (0, 0, 1), strict=True)) > 1e-6:
        raise InputError(f"the last row of K must be 0 0 1, got {intrinsics.tolist()}")
    if max(abs(skew), abs(shear)) > MAX_SKEW * min(fx, fy):
        raise InputError(
            f"skew must be at most {MAX_SKEW:.0%} of the focal length, got {intrinsics.tolist()}"
        )
    for side, focal, middle in sides:
        if not (side / MAX_RATIO < focal < side * MAX_RATIO and abs(middle) < side * MAX_RATIO):
            raise InputError(
                f"focal lengths ({fx:g}, {fy:g}) and principal point ({cx:g}, {cy:g}) do not fit "
                f"an image of {width}x{height} pixels"
            )


def _translation(projection: np.ndarray) -> np.ndarray:
    """t (3,) of a projection K [I | t], (3, 4)."""
    with np.errstate(all="ignore"):
        column = projection[:, 3]
        xy = column[:2] - projection[:2, 2] * column[2]
        (fx, skew), (shear, fy) = projection[:2, :2]
        y = (xy[1] - shear / fx * xy[0]) / (fy - shear / fx * skew)
        return np.array([(xy[0] - skew * y) / fx, y, column[2]])


def _floating(values: Any) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(np.result_type(values, np.float32), copy=False)


def with_depth(rays: np.ndarray) -> np.ndarray:
    """Points (..., 3) on rays (..., 2), at the depth 1."""
    return np.concatenate((rays, np.ones_like(rays[..., :1])), axis=-1)


def _captured(info: Any) -> tuple[np.ndarray, int, int]:
    """The map (3, 3) from pixels of the full sensor to those of the image, and its size."""
    roi = info.roi
    x, y, width, height = roi.x_offset, roi.y_offset, roi.width, roi.height
    if width == height == 0:
        x, y, width, height = 0, 0, info.width, info.height
    elif not (width and height) or x + width > info.width or y + height > info.height:
        raise InputError(
            f"region of interest {width}x{height} at ({x}, {y}) does not lie in the image of "
            f"{info.width}x{info.height} pixels"
        )
    scale_x, scale_y = max(info.binning_x, 1), max(info.binning_y, 1)
    if 0 < width < scale_x or 0 < height < scale_y:
        raise InputError(f"binning {scale_x}x{scale_y} leaves nothing of {width}x{height} pixels")
    to_image = [[1 / scale_x, 0, -x / scale_x], [0, 1 / scale_y, -y / scale_y], [0, 0, 1]]
    return np.array(to_image), width // scale_x, height // scale_y


def _matrix(entries: Any) -> np.ndarray:
    """Three rows of a CameraInfo's array."""
    return np.array([float(value) for value in entries]).reshape(3, -1)


def _check_pose(camera: CameraModel) -> None:
    for name, rotation in (("R", camera.rotation), ("level", camera.level)):
        with np.errstate(all="ignore"):
            skewed = np.abs(rotation @ rotation.T - np.eye(3)).max()
            # This form of the comparison refuses NaN, too.
            if not (skewed < ORTHONORMAL_WITHIN and np.linalg.det(rotation) > 0):
                entries = rotation.flatten().tolist()
                raise InputError(f"{name} must be a rotation matrix, got {entries}")
    check_pitch(angles_of(camera.level)[0])
    try:
        check_pitch(angles_of(camera.level @ camera.rotation)[0])
    except InputError as error:
        raise InputError(f"with R and its mounting, {error}") from None
    if not np.isfinite(camera.translation).all():
        raise InputError("translation must be finite, got NaN or infinity")
    if np.abs(camera.translation).max() > MAX_TRANSLATION:
        raise InputError(
            f"translation must be at most {MAX_TRANSLATION:g} m, got "
            f"{camera.translation.tolist()}: is the fourth column of P in pixel metres?"
        )
