"""The level pinhole through which the network sees every camera (docs/cameras.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, unproject, with_depth

FIELD_OF_VIEW = (40.0, 100.0)
"""Horizontal fields of view, in degrees, that the network has learned (docs/weights.md)."""

CENTRED_SURPLUS = 0.05
"""Part of the input's height by which an image may exceed it and still be cut about its centre,
as the published code does with KITTI's images of various sizes."""

BLACK_ROWS = 0.1
"""Part of the input's height that may be black, so that the horizon of a tilted or distorted image
is in the middle of the input. Otherwise the network would see the same street higher or lower
through another camera, and place objects up to 3 % nearer or farther."""

SMOOTHED_BELOW = 0.7
"""Scale below which an image is smoothed before it is shrunk."""

_OUTSIDE = -2.0
"""Pixel coordinate outside every image."""

_CORNERS = np.array([(0, 0), (1, 1)])
_SHARES = np.linspace(0, 1, 17)
_OUTLINE = np.array([p for s in _SHARES for p in ((s, 0), (s, 1), (0, s), (1, s))])
"""Points of the unit square: two corners, and points on all its sides."""

Convert = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class VirtualCamera:
    """A level pinhole at the position of a real camera; its image is the input of the network.

    A point `p` of the camera frame has the coordinates `camera.level @ (p + camera.translation)`
    in the frame of the rays of the virtual camera.

    camera: the real camera.
    width, height: size of the virtual image, the network input, in pixels.
    intrinsics: (3, 3) float64, K of the virtual camera.
    affine: (2, 3) float64, from pixels of the camera to virtual pixels; None if the camera is
        tilted or has a lens model.
    """

    camera: CameraModel
    width: int
    height: int
    intrinsics: np.ndarray
    affine: np.ndarray | None

    @property
    def sees_anything(self) -> bool:
        """Whether any part of the virtual image shows a part of the camera's image."""
        grid = np.meshgrid(np.linspace(0, self.width, 33), np.linspace(0, self.height, 33))
        pixels = self._imaged(np.stack(grid, axis=-1))
        return bool(((pixels >= 0) & (pixels < self.camera.size)).all(-1).any())

    @property
    def projection(self) -> np.ndarray:
        """P = K [I | t], (3, 4) float64: from points of the level frame to virtual pixels."""
        translation = self.camera.level @ self.camera.translation
        return np.column_stack((self.intrinsics, self.intrinsics @ translation))

    @property
    def field_of_view(self) -> float:
        """Horizontal field of view in degrees."""
        focal, center = self.intrinsics[0, 0], self.intrinsics[0, 2]
        return math.degrees(math.atan(center / focal) + math.atan((self.width - center) / focal))

    @property
    def scale(self) -> float:
        """Virtual pixels per pixel of the camera, near the principal point."""
        return float(self.intrinsics[0, 0] / self.camera.intrinsics[0, 0])

    def moved(self, affine: np.ndarray) -> VirtualCamera:
        """The virtual camera whose pixels are these ones after an affine (2, 3)."""
        both = None if self.affine is None else affine[:, :2] @ self.affine
        if both is not None:
            both[:, 2] += affine[:, 2]
        intrinsics = np.vstack((affine, (0, 0, 1))) @ self.intrinsics
        return replace(self, intrinsics=intrinsics, affine=both)

    def warp(self, image: np.ndarray) -> np.ndarray:
        """The virtual image (height, width, 3) uint8 of a camera image; bilinear, else black."""
        if self.scale < SMOOTHED_BELOW:
            # Bilinear sampling reads two pixels per axis: at half size every other one is lost.
            image = cv2.GaussianBlur(image, (3, 3), 0)
        if self.affine is not None:
            size = (self.width, self.height)
            return cv2.warpAffine(image, self.affine, size, flags=cv2.INTER_LINEAR)
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR)

    def from_camera(self, pixels: np.ndarray) -> np.ndarray:
        """Virtual pixels (..., 2) of camera pixels (..., 2); NaN where there is no ray."""
        if self.affine is not None:
            return pixels * self.affine[0, 0] + self.affine[:, 2]
        x, y, z = np.moveaxis(with_depth(self.camera.rays(pixels)) @ self.camera.level.T, -1, 0)
        with np.errstate(invalid="ignore"):
            z = np.where(z > 0, z, math.nan)
        own = np.stack((x / z, y / z), axis=-1)
        return own @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2]

    def to_camera(self, pixels: np.ndarray) -> np.ndarray:
        """Camera pixels (..., 2) of virtual pixels (..., 2).

        A direction outside the region that the lens images gives the nearest pixel on its edge.
        """
        if self.affine is not None:
            return (pixels - self.affine[:, 2]) / self.affine[0, 0]
        directions = self._before_lens(pixels)
        return self.camera.to_pixels(self.camera.nearest_imaged(directions))

    def boxes_from_camera(self, boxes: np.ndarray) -> np.ndarray:
        """2D boxes (N, 4) of the virtual image from those of the camera; NaN without a ray."""
        return self._extent(boxes, self.from_camera)

    def boxes_to_camera(self, boxes: np.ndarray) -> np.ndarray:
        """2D boxes (N, 4) of the camera, clipped to its image, from those of the virtual image."""
        extent = self._extent(boxes, self.to_camera)
        return np.clip(extent, 0, np.tile(self.camera.size - 1, 2))

    def _extent(self, boxes: np.ndarray, convert: Convert) -> np.ndarray:
        """Extent (N, 4) of the converted boxes, or of their outlines, where these are bent."""
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        outline = convert(low + (high - low) * (_CORNERS if self.affine is not None else _OUTLINE))
        return np.concatenate((np.fmin.reduce(outline, 1), np.fmax.reduce(outline, 1)), axis=-1)

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """For each of its pixels the place in the camera's image, in the fixed point of OpenCV."""
        columns, rows = np.meshgrid(np.arange(self.width), np.arange(self.height))
        pixels = self._imaged(np.stack((columns, rows), axis=-1))
        inside = ((pixels > _OUTSIDE) & (pixels < self.camera.size + 1)).all(-1, keepdims=True)
        x, y = np.moveaxis(np.where(inside, pixels, _OUTSIDE).astype(np.float32), -1, 0)
        return cv2.convertMaps(x, y, cv2.CV_16SC2)

    def _imaged(self, pixels: np.ndarray) -> np.ndarray:
        """Camera pixels (..., 2) of virtual pixels; `_OUTSIDE` if the lens images nothing."""
        directions = self._before_lens(pixels)
        seen = self.camera.images(directions)[..., None]
        return np.where(seen, self.camera.to_pixels(directions), _OUTSIDE)

    def _before_lens(self, pixels: np.ndarray) -> np.ndarray:
        """Directions (..., 3) of its pixels (..., 2), in front of the camera's lens."""
        turn = self.camera.level @ self.camera.rotation
        return with_depth(unproject(pixels, self.intrinsics)) @ turn


@lru_cache(maxsize=32)
def virtual_camera(
    camera: CameraModel, input_size: tuple[int, int], field_of_view: float = 0.0
) -> VirtualCamera:
    """The view of a camera that becomes the input of the network.

    One scale for both axes: the focal length relative to the image width is that of the camera,
    and the field of view is limited to `FIELD_OF_VIEW`. Rows are padded or cut off about the
    middle of the image. If the image is much taller than the input, the rows about the horizon are
    kept, as far as the image reaches. For tilted cameras and lenses, a few rows of the input may
    then be black (`BLACK_ROWS`).

    input_size: (height, width) of the network input in pixels.
    field_of_view: horizontal, in degrees, instead of that of the camera; 0: the rule above.

    Raises:
        InputError: the camera sees no part of this view.
    """
    height, width = input_size
    is_plain = camera.is_rectified and camera.is_level
    left, right, top, bottom = (0, camera.width, 0, camera.height) if is_plain else _edges(camera)
    narrowest, widest = (
        2 * camera.fx * math.tan(math.radians(angle) / 2) for angle in FIELD_OF_VIEW
    )
    span = min(max(right - left, narrowest), widest)
    if field_of_view:
        span = 2 * camera.fx * math.tan(math.radians(field_of_view) / 2)
    middle = (left + right) / 2
    if span < right - left:
        middle = min(max(camera.cx, left + span / 2), right - span / 2)
    scale = width / span
    surplus = scale * (bottom - top) - height
    shift = -scale * top - surplus / 2
    if surplus > CENTRED_SURPLUS * height:
        wanted = height / 2 - scale * camera.cy
        shift = min(max(wanted, -scale * top - surplus), -scale * top)
        if not is_plain and abs(wanted - shift) <= BLACK_ROWS * height:
            shift = wanted
    affine = np.array([[scale, 0.0, -scale * (middle - span / 2)], [0.0, scale, shift]])
    pinhole = camera.intrinsics
    if not is_plain:
        pinhole = np.array([[camera.fx, 0, camera.cx], [0, camera.fx, camera.cy], [0, 0, 1]])
    intrinsics = np.vstack((affine, (0, 0, 1))) @ pinhole
    view = VirtualCamera(camera, width, height, intrinsics, affine if is_plain else None)
    if not is_plain and not view.sees_anything:
        raise InputError(
            "the camera sees nothing of the network's view: does its lens reach the edges of its "
            "image, and is it mounted as given?"
        )
    return view


def axis_lines(camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """The lines in the image that cross at the principal point, one along the true horizon.

    Returns:
        Pixels (65, 2) each, from edge to edge of the image: from left to right, and from top to
        bottom, as a level camera would see it. Those of a camera on its side are its columns and
        its rows.
    """
    x, y = (camera.level @ camera.rotation)[1, :2]
    start = np.clip((camera.cx, camera.cy), 0, camera.size)
    across, down = (_line(camera, start, direction) for direction in ((y, -x), (x, y)))
    return across, down


def _line(camera: CameraModel, start: np.ndarray, direction: tuple[float, float]) -> np.ndarray:
    """Pixels (65, 2) through `start`; the direction is in front of the lens."""
    step = camera.intrinsics[:2, :2] @ direction
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (np.stack((np.zeros(2), camera.size)) - start) / step
    first, last = np.nanmax(ends.min(0)), np.nanmin(ends.max(0))
    return start + np.linspace(first, last, 65)[:, None] * step


def _edges(camera: CameraModel) -> tuple[float, float, float, float]:
    """Left, right, top and bottom edge of the view of a camera, as pixels of a level pinhole.

    The pinhole has the focal length and the principal point of the camera. The edges are the ends
    of `axis_lines`. Left and right are without the lens, and the length of a leaning line is that
    of its longer component: neither a lens nor a small roll changes the scale. The network places
    the objects of an image with another scale about 0.8 % elsewhere. Top and bottom are those of
    what the camera sees.
    """
    across, down = axis_lines(camera)
    ends = unproject(across[[0, -1]], camera.intrinsics)
    left, right = np.sign(ends @ (ends[1] - ends[0])) * np.abs(ends).max(axis=-1)
    rays = camera.rays(down)
    _, y, z = (with_depth(rays[np.isfinite(rays).all(-1)]) @ camera.level.T).T
    slopes = y[z > 0] / z[z > 0]
    top, bottom = (slopes.min(), slopes.max()) if len(slopes) else (0.0, 0.0)
    return (
        camera.fx * left + camera.cx,
        camera.fx * right + camera.cx,
        camera.fx * top + camera.cy,
        camera.fx * bottom + camera.cy,
    )
