"""A camera image as the network wants it (design, section 4, preprocessing)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from km3d_ros.network.spec import ModelSpec

SMOOTHED_BELOW = 0.7
"""Scale below which an image is smoothed before it is shrunk."""


def input_affine(image_size: tuple[int, int], input_size: tuple[int, int]) -> np.ndarray:
    """The map from image to network input pixels: x_in = (x − w/2)·s + W/2, s = W/w.

    One scale for both axes, about the centre of the image; rows that do not fit are cut off.

    image_size: (width, height) of the camera image in pixels.
    input_size: (height, width) of the network input in pixels.
    Returns (2, 3) float64.
    """
    width, height = image_size
    input_height, input_width = input_size
    scale = input_width / width
    return np.array(
        [
            [scale, 0.0, input_width / 2 - scale * width / 2],
            [0.0, scale, input_height / 2 - scale * height / 2],
        ]
    )


def warp(image: np.ndarray, affine: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """The image seen through an affine, bilinear, black outside.

    image: (h, w, 3) uint8; affine: (2, 3) from image to input pixels, without rotation.
    input_size: (height, width). Returns (height, width, 3) uint8.
    """
    if affine[0, 0] < SMOOTHED_BELOW:
        # Bilinear sampling reads two pixels per axis: at half size every other one would be lost.
        image = cv2.GaussianBlur(image, (3, 3), 0)
    return cv2.warpAffine(image, affine, input_size[::-1], flags=cv2.INTER_LINEAR)


def to_input(image: np.ndarray, spec: ModelSpec) -> tuple[Tensor, np.ndarray]:
    """Scale, crop or pad, and normalise one image.

    image: (h, w, 3) uint8, BGR.
    Returns the (1, 3, H, W) float32 network input and the (2, 3) affine from image to input.
    """
    height, width = spec.input_size
    affine = input_affine((image.shape[1], image.shape[0]), spec.input_size)
    warped = warp(image, affine, spec.input_size)
    channels = cv2.split(warped)
    if spec.channel_order == "rgb":
        channels = channels[::-1]
    planes = np.empty((3, height, width), np.float32)
    for plane, channel, mean, std in zip(planes, channels, spec.mean, spec.std, strict=True):
        cv2.LUT(channel, _normalised_levels(mean, std), dst=plane)
    return torch.from_numpy(planes)[None], affine


def _normalised_levels(mean: float, std: float) -> np.ndarray:
    """The 256 pixel values after normalisation; (256,) float32.

    Rounded as in the published code: mean and deviation to float32 first, the rest in float64.
    """
    levels = np.arange(256) / 255.0
    return ((levels - np.float32(mean)) / np.float32(std)).astype(np.float32)
