"""A calibrated camera: from pixels to rays and back (docs/design.md, Mathematics)."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.geometry import lens_models

MAX_RATIO = 1000.0
"""Largest focal length and principal point, in sizes of the image."""

MAX_SKEW = 0.05
"""Largest entry K[0, 1] and K[1, 0], in focal lengths. Lenses and scanned films stay below 1 %."""

MAX_TILT = 1.0
"""Largest tilt of a sensor, in radians. Lenses that can be tilted reach 0.2."""

MAX_TRANSLATION = 1000.0
"""Largest distance between the cameras of one frame, in metres."""

ORTHONORMAL_WITHIN = 1e-3
"""Largest error of a rotation matrix: calibrations are written with few digits."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera: projection, lens and image size.

    The camera frame is the optical frame of REP 103 (x right, y down, z forward). Pixel (0, 0) is
    the centre of the top-left pixel. As in image_geometry, a raw image and its rectified image
    have the same camera frame. A point `p` of the camera frame is projected in four steps:
    `q = p + translation` is its position in the frame of the rays, which start at the origin;
    `rotationᵀ q` is in front of the lens; the lens bends the ray; K maps it to a pixel.

    This class is for one camera with a lens. `Pinholes` is for batches of rectified cameras inside
    the network's graph.

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
    >>> camera.rays(torch.tensor([[640.0, 192.0], [1340.0, 192.0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    >>> camera.project(torch.tensor([10.0, 0.0, 10.0])).tolist()
    [1340.0, 192.0]
    """

    width: int
    height: int
    intrinsics: Tensor
    translation: Tensor
    distortion_model: str
    distortion: Tensor
    rotation: Tensor = field(default_factory=lambda: torch.eye(3, dtype=torch.float64))
    level: Tensor = field(default_factory=lambda: torch.eye(3, dtype=torch.float64))

    def __post_init__(self) -> None:
        check_intrinsics(self.intrinsics, self.width, self.height)
        _check_pose(self)
        if not self.distortion.isfinite().all():
            raise InputError("distortion must be finite, got NaN or infinity")
        tilt = self.distortion[12:].tolist()
        if any(abs(angle) > MAX_TILT for angle in tilt):
            raise InputError(f"tilt of the sensor must be at most {MAX_TILT:g} rad, got {tilt}")
        # The corners of a fisheye image may be black, but not all of these pixels.
        inner = torch.cartesian_prod(*(torch.tensor([0.25, 0.75], dtype=torch.float64),) * 2)
        if not self.rays(inner * torch.tensor([self.width, self.height])).isfinite().any():
            raise InputError(
                f"distortion {self.distortion.tolist()} or R makes no sense: no pixel of the "
                "image sees anything ahead"
            )

    @classmethod
    def from_projection(cls, projection: Any, width: int, height: int) -> CameraModel:
        """A rectified camera from its projection matrix (3, 4), fx ≠ fy and column 4 included."""
        matrix = torch.as_tensor(projection, dtype=torch.float64)
        translation, none = translation_of(matrix), matrix.new_zeros(0)
        return cls(width, height, matrix[:, :3], translation, "", none)

    @classmethod
    def from_intrinsics(
        cls,
        intrinsics: Any,
        width: int,
        height: int,
        distortion: Sequence[float] = (),
        distortion_model: str = "",
    ) -> CameraModel:
        """A raw camera from K (3, 3) and its lens.

        Args:
            intrinsics: K.
            width, height: size of the image in pixels.
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
        return cls(
            width,
            height,
            torch.as_tensor(intrinsics, dtype=torch.float64),
            torch.zeros(3, dtype=torch.float64),
            model,
            torch.tensor(padded, dtype=torch.float64),
        )

    @classmethod
    def from_camera_info(cls, info: Any, rectified: bool) -> CameraModel:
        """The camera of a sensor_msgs/CameraInfo.

        P describes a rectified image. K, D, R and the translation in P describe a raw one. R or P
        of zeros only means no rotation or no translation. Matrices are those of the full sensor:
        the region of interest shifts them and binning divides them, as in image_geometry.

        Args:
            info: a CameraInfo, or any object with its fields.
            rectified: whether the image is rectified (image_rect) or raw.

        Raises:
            InputError: the message does not describe a usable camera; it names the field.
        """
        try:
            to_image, width, height = _captured(info)
            projection = _matrix(info.p)
            if rectified:
                return cls.from_projection(to_image @ projection, width, height)
            camera = cls.from_intrinsics(
                to_image @ _matrix(info.k), width, height, info.d, info.distortion_model
            )
            rotation = _matrix(info.r)
            return replace(
                camera,
                translation=translation_of(projection) if projection.any() else camera.translation,
                rotation=rotation if rotation.any() else camera.rotation,
            )
        except InputError as error:
            raise InputError(f"CameraInfo ({'P' if rectified else 'K, D, R'}): {error}") from None

    @property
    def size(self) -> Tensor:
        """Width and height of the image in pixels, (2,)."""
        return torch.tensor([self.width, self.height])

    @property
    def projection(self) -> Tensor:
        """P = K [I | t], (3, 4) float64; with the size it describes a rectified camera."""
        return torch.cat((self.intrinsics, self.intrinsics @ self.translation[:, None]), dim=1)

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
        return not self.distortion_model and torch.equal(
            self.rotation, torch.eye(3, dtype=torch.float64)
        )

    def rays(self, pixels: Tensor) -> Tensor:
        """Rays (x/z, y/z), (..., 2), through pixels (..., 2).

        Distortion and rotation are undone. Pixels that the lens model does not reach, or whose
        ray points backwards, give NaN.
        """
        bent = unproject(pixels, self.intrinsics.to(pixels))
        straight = lens_models.undistort(bent, self.distortion_model, self.distortion.tolist())
        ahead = F.pad(straight, (0, 1), value=1.0) @ self.rotation.to(straight).T
        return torch.where(ahead[..., 2:] > 0, ahead[..., :2] / ahead[..., 2:], math.nan)

    def project(self, points: Tensor) -> Tensor:
        """Pixels (..., 2) of points (..., 3) in the camera frame; meaningful where z > 0.

        With a lens, they are meaningful only where it `sees` the points.
        """
        points = self._before_lens(points)
        rays = points[..., :2] / points[..., 2:]
        bent = lens_models.distort(rays, self.distortion_model, self.distortion.tolist())
        return to_pixels(bent, self.intrinsics.to(points))

    def sees(self, points: Tensor) -> Tensor:
        """Whether points (..., 3) are in front of the camera and its lens images them; (...)."""
        points = self._before_lens(points)
        rays = points[..., :2] / points[..., 2:]
        coefficients = self.distortion.tolist()
        return (points[..., 2] > 0) & lens_models.images(rays, self.distortion_model, coefficients)

    def _before_lens(self, points: Tensor) -> Tensor:
        return (points + self.translation.to(points)) @ self.rotation.to(points)


def unproject(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Rays (..., 2) through pixels (..., 2) of rectified cameras with K (..., 3, 3), broadcast.

    >>> unproject(torch.tensor([740.0, 142.0]), torch.tensor([[100.0, 0, 640], [0, 50, 192],
    ...     [0, 0, 1]])).tolist()
    [1.0, -1.0]
    """
    return _solve(intrinsics, pixels - intrinsics[..., :2, 2])


def translation_of(projection: Tensor) -> Tensor:
    """t (..., 3) of projections K [I | t], (..., 3, 4)."""
    column = projection[..., 3]
    xy = _solve(projection, column[..., :2] - projection[..., :2, 2] * column[..., 2:])
    return torch.cat((xy, column[..., 2:]), dim=-1)


def to_pixels(rays: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (..., 2) of rays (..., 2); the inverse of `unproject`."""
    fx, skew, shear, fy = intrinsics[..., :2, :2].flatten(-2).unbind(-1)
    x, y = rays.unbind(-1)
    return torch.stack((x * fx + y * skew, x * shear + y * fy), dim=-1) + intrinsics[..., :2, 2]


def check_intrinsics(
    intrinsics: Tensor, width: int | None = None, height: int | None = None
) -> None:
    """Refuse a K (3, 3) that no camera has; its image size is checked where it is given.

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
    if not intrinsics.isfinite().all():
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


def _solve(intrinsics: Tensor, offsets: Tensor) -> Tensor:
    """Rays (..., 2) of pixels (..., 2) relative to the principal point."""
    fx, skew, shear, fy = intrinsics[..., :2, :2].flatten(-2).unbind(-1)
    u, v = offsets.unbind(-1)
    y = (v - shear / fx * u) / (fy - shear / fx * skew)
    return torch.stack(((u - skew * y) / fx, y), dim=-1)


def _captured(info: Any) -> tuple[Tensor, int, int]:
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
    return torch.tensor(to_image, dtype=torch.float64), width // scale_x, height // scale_y


def _matrix(entries: Any) -> Tensor:
    """Three rows of a CameraInfo's array."""
    return torch.tensor([float(value) for value in entries], dtype=torch.float64).reshape(3, -1)


def _check_pose(camera: CameraModel) -> None:
    identity = torch.eye(3, dtype=torch.float64)
    for name, rotation in (("R", camera.rotation), ("level", camera.level)):
        skewed = rotation @ rotation.T - identity
        # This form of the comparison refuses NaN, too.
        if not (skewed.abs().max() < ORTHONORMAL_WITHIN and rotation.det() > 0):
            raise InputError(
                f"{name} must be a rotation matrix, got {rotation.flatten().tolist()}"
            )
    if not camera.translation.isfinite().all():
        raise InputError("translation must be finite, got NaN or infinity")
    if camera.translation.abs().max() > MAX_TRANSLATION:
        raise InputError(
            f"translation must be at most {MAX_TRANSLATION:g} m, got "
            f"{camera.translation.tolist()}: is the fourth column of P in pixel metres?"
        )
