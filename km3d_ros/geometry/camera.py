"""From pixels to rays and back, for the camera at hand (design, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.geometry import lens


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera: projection, lens and image size.

    The camera frame is the optical frame of REP 103 (x right, y down, z forward); pixel (0, 0)
    is the centre of the top-left pixel. The frame of K is the camera frame shifted by
    `translation`: a point at `p` in the camera frame is at `p + translation` in the frame of K,
    where rays start at the origin.

    width, height: size of the image in pixels.
    intrinsics: (3, 3) float64, K.
    translation: (3,) float64, metres; t of P = K [I | t], zero for a raw image.
    distortion_model: a key of `lens.COEFFICIENTS`, "" for a rectified image.
    distortion: float64 coefficients of that model, in the order of CameraInfo.d.

    Raises:
        InputError: no usable size, focal length, or distortion.

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

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"image size must be positive, got {self.width}x{self.height}")
        if not (self.fx > 0 and self.fy > 0):
            raise InputError(
                f"focal lengths must be positive, got fx={self.fx:g}, fy={self.fy:g}: "
                "is the camera calibrated?"
            )
        for name in ("intrinsics", "translation", "distortion"):
            if not getattr(self, name).isfinite().all():
                raise InputError(f"{name} must be finite, got NaN or infinity")

    @classmethod
    def from_projection(cls, projection: Any, width: int, height: int) -> CameraModel:
        """A rectified camera from its projection matrix (3, 4), fx ≠ fy and column 4 included."""
        matrix = torch.as_tensor(projection, dtype=torch.float64)
        tz = matrix[2, 3]
        txy = (matrix[:2, 3] - matrix[:2, 2] * tz) / matrix.diagonal()[:2]
        translation = torch.cat((txy, tz[None]))
        return cls(width, height, matrix[:, :3], translation, "", matrix.new_zeros(0))

    @classmethod
    def from_intrinsics(
        cls,
        intrinsics: Any,
        width: int,
        height: int,
        distortion: Sequence[float] = (),
        distortion_model: str = "",
    ) -> CameraModel:
        """A raw camera from K (3, 3) and its lens; coefficients left out are zero.

        Raises:
            InputError: unknown model, or more coefficients than the model has.
        """
        coefficients = [float(value) for value in distortion]
        if distortion_model not in lens.COEFFICIENTS:
            known = ", ".join(name for name in lens.COEFFICIENTS if name)
            raise InputError(f"unknown distortion model {distortion_model!r}; known: {known}")
        # Not so for "equidistant": without coefficients it is the ideal fisheye, no pinhole.
        if distortion_model != "equidistant" and not any(coefficients):
            distortion_model, coefficients = "", []
        count = lens.COEFFICIENTS[distortion_model]
        if any(coefficients[count:]):
            raise InputError(
                f"distortion model {distortion_model!r} has {count} coefficients, "
                f"got {len(coefficients)}"
            )
        padded = (coefficients + [0.0] * count)[:count]
        return cls(
            width,
            height,
            torch.as_tensor(intrinsics, dtype=torch.float64),
            torch.zeros(3, dtype=torch.float64),
            distortion_model,
            torch.tensor(padded, dtype=torch.float64),
        )

    @classmethod
    def from_camera_info(cls, info: Any, rectified: bool) -> CameraModel:
        """The camera of a sensor_msgs/CameraInfo.

        P describes a rectified image, K and D a raw one. Both are given for the full sensor; the
        region of interest shifts and binning divides them, as image_geometry does.

        Args:
            info: a CameraInfo, or any object with its fields.
            rectified: whether the image is rectified (image_rect) or raw.

        Raises:
            InputError: the message does not describe a usable camera; it names the field.
        """
        scale_x, scale_y = max(info.binning_x, 1), max(info.binning_y, 1)
        width = (info.roi.width or info.width) // scale_x
        height = (info.roi.height or info.height) // scale_y
        to_image = torch.tensor(
            [
                [1 / scale_x, 0, -info.roi.x_offset / scale_x],
                [0, 1 / scale_y, -info.roi.y_offset / scale_y],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )
        entries = [float(value) for value in (info.p if rectified else info.k)]
        matrix = to_image @ torch.tensor(entries, dtype=torch.float64).reshape(3, -1)
        try:
            if rectified:
                return cls.from_projection(matrix, width, height)
            return cls.from_intrinsics(matrix, width, height, info.d, info.distortion_model)
        except InputError as error:
            raise InputError(f"CameraInfo ({'P' if rectified else 'K, D'}): {error}") from None

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

    def rays(self, pixels: Tensor) -> Tensor:
        """Rays (x/z, y/z) in the frame of K, (..., 2), through pixels (..., 2).

        Distortion is undone; pixels that the lens model does not reach give NaN.
        """
        u, v = pixels.unbind(-1)
        bent = torch.stack(((u - self.cx) / self.fx, (v - self.cy) / self.fy), dim=-1)
        return lens.undistort(bent, self.distortion_model, self.distortion.tolist())

    def project(self, points: Tensor) -> Tensor:
        """Pixels (..., 2) of points (..., 3) in the camera frame; meaningful where z > 0."""
        x, y, z = points.unbind(-1)
        tx, ty, tz = self.translation.tolist()
        rays = torch.stack((x + tx, y + ty), dim=-1) / (z + tz)[..., None]
        bent_x, bent_y = lens.distort(
            rays, self.distortion_model, self.distortion.tolist()
        ).unbind(-1)
        return torch.stack((bent_x * self.fx + self.cx, bent_y * self.fy + self.cy), dim=-1)


def unproject(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Rays (..., 2) through pixels (..., 2) of rectified cameras with K (..., 3, 3), broadcast.

    >>> unproject(torch.tensor([740.0, 142.0]), torch.tensor([[100.0, 0, 640], [0, 50, 192],
    ...     [0, 0, 1]])).tolist()
    [1.0, -1.0]
    """
    focal = torch.stack((intrinsics[..., 0, 0], intrinsics[..., 1, 1]), dim=-1)
    return (pixels - intrinsics[..., :2, 2]) / focal
