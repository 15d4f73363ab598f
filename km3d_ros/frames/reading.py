"""A frame's messages as an image array and a camera model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.drops import DropCause, dropping
from km3d_ros.frames.encodings import to_bgr
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.pairing import Frame
from km3d_ros.geometry.camera import CameraModel

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

MAX_SIDE = 32766
"""Longest side of an image in pixels. OpenCV 4's warpAffine refuses longer ones."""


@dataclass(frozen=True)
class View:
    """A frame with its image and camera model.

    image: (height, width, 3) uint8, BGR.
    """

    frame: Frame
    image: np.ndarray
    camera: CameraModel


class ViewReader:
    """Reads the frames of one camera.

    It keeps the camera model while the CameraInfo and the mount are equal.

    rectified: images are rectified (P is used); False: images are raw (K and D).
    """

    def __init__(
        self,
        rectified: bool,
        mounting: Mounting,
        on_calibration: Callable[[CameraModel, CameraInfo | None], None],
        on_bit_depth: Callable[[int], None],
        calibration: Callable[[int, int], CameraModel] | None = None,
    ) -> None:
        """Create a reader.

        Args:
            rectified: images are rectified (P is used); False: images are raw (K and D).
            mounting: how the camera is mounted.
            on_calibration: called with each new camera model and its CameraInfo; it may refuse
                the camera by an InputError.
            on_bit_depth: called with the bits in use of 16-bit images, when they change.
            calibration: used instead of CameraInfo: the camera of images of a width and height.
        """
        self._depth = BitDepth(on_bit_depth)
        self.rectified = rectified
        self._mounting = mounting
        self._on_calibration = on_calibration
        self._calibration = calibration
        self._content: tuple | None = None
        self._camera: CameraModel | None = None

    def read(self, frame: Frame) -> View:
        """Read a frame that has a CameraInfo, if there is no other calibration.

        Raises:
            DroppedFrame: the image or its CameraInfo is unusable.
        """
        with dropping(DropCause.BAD_IMAGE):
            image = to_bgr(frame.image, self._depth)
            _check_pixels(image)
        with dropping(DropCause.NO_LEVEL):
            level = self._mounting.of(frame.image.header.frame_id).level
        with dropping(DropCause.BAD_CAMERA_INFO):
            camera = self._camera_model(frame.info, image, level)
        with dropping(DropCause.SIZE_MISMATCH):
            check_image(image, camera)
        return View(frame, image, camera)

    def _camera_model(
        self, info: CameraInfo | None, image: np.ndarray, level: np.ndarray
    ) -> CameraModel:
        content = (level.tobytes(), *(image.shape if self._calibration else _content(info)))
        if content != self._content:
            self._content = None
            if self._calibration:
                camera = self._calibration(image.shape[1], image.shape[0])
            else:
                camera = CameraModel.from_camera_info(info, self.rectified)
            camera = replace(camera, level=level)
            self._on_calibration(camera, info)
            self._camera, self._content = camera, content
        return self._camera


def check_image(image: np.ndarray, camera: CameraModel) -> None:
    """Check that an image can be processed and is of this camera.

    Raises:
        InputError: `image` is not (h, w, 3) uint8, a single pixel, not of the camera's size, or a
            side is longer than `MAX_SIDE`.
    """
    _check_pixels(image)
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"image is {width}x{height} pixels, but its camera {camera.width}x{camera.height}"
        )


def _check_pixels(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image is {image.dtype} {image.shape}, expected uint8 (h, w, 3)")
    height, width = image.shape[:2]
    if width == height == 1:
        raise InputError("image is a single pixel, expected a picture")
    if max(width, height) > MAX_SIDE:
        raise InputError(f"image is {width}x{height} pixels, expected at most {MAX_SIDE} a side")


def _content(info: CameraInfo) -> tuple:
    """All fields of a CameraInfo except its header, as a tuple that can be compared."""
    roi = info.roi
    return (
        info.width,
        info.height,
        info.distortion_model,
        *(np.asarray(matrix).tobytes() for matrix in (info.d, info.k, info.r, info.p)),
        (info.binning_x, info.binning_y),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
