"""A camera image, scaled to the input of the network (docs/design.md, Mathematics)."""

from __future__ import annotations

import cv2
import numpy as np

from km3d_ros.geometry.camera import CameraModel

CENTRED_SURPLUS = 0.05
"""Part of the input's height by which an image may exceed it and still be cut about its centre,
as the published code does with KITTI's images of various sizes."""

SMOOTHED_BELOW = 0.7
"""Scale below which an image is smoothed before it is shrunk."""


def input_affine(camera: CameraModel, input_size: tuple[int, int]) -> np.ndarray:
    """The map from image to network input pixels: x_in = s·x and y_in = s·y + t, s = W/w.

    Rows are padded, or cut off, about the centre of the image: t = (H − s·h)/2. Of an image that
    is much taller than the input those about the principal point are kept, where the horizon of
    a level camera is: t = H/2 − s·cy, as far as the image reaches.

    input_size: (height, width) of the network input in pixels.
    Returns (2, 3) float64.
    """
    height, width = input_size
    scale = width / camera.width
    surplus = scale * camera.height - height
    top = -surplus / 2
    if surplus > CENTRED_SURPLUS * height:
        top = min(max(height / 2 - scale * camera.cy, -surplus), 0.0)
    return np.array([[scale, 0.0, 0.0], [0.0, scale, top]])


def warp(image: np.ndarray, affine: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """The image seen through an affine, bilinear, black outside.

    image: (h, w, 3) uint8; affine: (2, 3) from image to input pixels, without rotation.
    input_size: (height, width). Returns (height, width, 3) uint8.
    """
    if affine[0, 0] < SMOOTHED_BELOW:
        # Bilinear sampling reads two pixels per axis: at half size every other one would be lost.
        image = cv2.GaussianBlur(image, (3, 3), 0)
    return cv2.warpAffine(image, affine, input_size[::-1], flags=cv2.INTER_LINEAR)
