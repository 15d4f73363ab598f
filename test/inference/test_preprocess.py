from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.preprocess import input_affine, to_input, warp
from km3d_ros.network.spec import ModelSpec

SPEC = ModelSpec("res_18")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def camera(width: int, height: int, cy: float) -> CameraModel:
    k = [[0.6 * width, 0, width / 2], [0, 0.6 * width, cy], [0, 0, 1]]
    return CameraModel.from_intrinsics(k, width, height)


@pytest.mark.parametrize("size", [(1242, 375), (1224, 370), (1600, 400), (1280, 403)])
@pytest.mark.parametrize("cy", [0.3, 0.7])
def test_of_an_image_about_as_high_as_the_input_the_middle_is_seen(size, cy):
    width, height = size
    affine = input_affine(camera(width, height, cy * height), (384, 1280))
    points = np.array([[0, height / 2, 1], [width / 2, height / 2, 1], [width, height / 2, 1]])
    np.testing.assert_allclose(points @ affine.T, [[0, 192], [640, 192], [1280, 192]], atol=1e-9)
    assert affine[0, 0] == affine[1, 1]
    assert affine[0, 1] == affine[1, 0] == 0


@pytest.mark.parametrize(
    ("size", "cy", "rows"),
    [
        ((1280, 720), 360, (168, 552)),  # 16:9, half of what does not fit on either side
        ((1920, 1080), 500, (212, 788)),
        ((640, 480), 240, (144, 336)),  # 4:3
        ((640, 480), 300, (204, 396)),
        ((640, 480), 30, (0, 192)),  # not beyond the edges of the image
        ((640, 480), 470, (288, 480)),
        ((480, 640), 320, (248, 392)),
    ],
)
def test_of_a_taller_image_the_rows_about_the_principal_point_are_seen(size, cy, rows):
    affine = input_affine(camera(*size, cy), (384, 1280))
    assert affine[0].tolist() == [1280 / size[0], 0, 0]
    edges = np.array([[0, row, 1] for row in rows]) @ affine.T
    np.testing.assert_allclose(edges[:, 1], [0, 384], atol=1e-9)


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224), (376, 1241)])
def test_the_input_has_the_published_values_to_the_last_bit(size):
    height, width = size
    image = noise(*size)
    pixels, affine = to_input(image, camera(width, height, 172.85), SPEC)
    scale = 1280 / width
    published = np.array(
        [[scale, 0, 640 - scale * width / 2], [0, scale, 192 - scale * height / 2]]
    )
    np.testing.assert_allclose(affine, published, rtol=0, atol=1e-12)
    warped = cv2.warpAffine(image, published, (1280, 384), flags=cv2.INTER_LINEAR)
    mean, std = np.float32(SPEC.mean), np.float32(SPEC.std)
    expected = ((warped / 255.0 - mean) / std).astype(np.float32)
    assert pixels.dtype == torch.float32
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), expected)


def test_rows_are_padded_with_black_or_cut_off():
    image = np.full((20, 160, 3), 255, np.uint8)
    spec = replace(SPEC, input_size=(64, 160), mean=(0.0,) * 3, std=(1.0,) * 3)
    padded = to_input(image, camera(160, 20, 10), spec)[0][0, 0]
    assert padded[:22].max() == padded[42:].max() == 0
    assert padded[22:42].min() == 1
    tall = np.zeros((100, 160, 3), np.uint8)
    tall[8] = 255
    cut = to_input(tall, camera(160, 100, 40), spec)[0][0, 0]
    assert cut[0].min() == 1
    assert cut[1:].max() == 0


def test_rgb_models_get_their_channels_in_that_order():
    image = np.zeros((64, 160, 3), np.uint8)
    image[..., 2] = 255  # red
    spec = replace(
        SPEC, input_size=(64, 160), channel_order="rgb", mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 1.0)
    )
    red, green, blue = to_input(image, camera(160, 64, 32), spec)[0][0]
    assert red.unique().tolist() == [1.0]
    assert green.unique().tolist() == blue.unique().tolist() == [0.0]


def test_a_much_larger_image_is_smoothed_before_it_shrinks():
    stripes = np.zeros((128, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp(stripes, input_affine(camera(640, 128, 64), (64, 320)), (64, 320))[8:-8, 8:-8]
    assert abs(small.mean() - 127.5) < 2
    assert small.std() < 2
