import cv2
import numpy as np
import pytest

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.preprocess import input_affine, warp


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
def test_an_image_is_scaled_as_published_to_the_last_bit(size):
    height, width = size
    image = noise(*size)
    affine = input_affine(camera(width, height, 172.85), (384, 1280))
    scale = 1280 / width
    published = np.array(
        [[scale, 0, 640 - scale * width / 2], [0, scale, 192 - scale * height / 2]]
    )
    np.testing.assert_allclose(affine, published, rtol=0, atol=1e-12)
    expected = cv2.warpAffine(image, published, (1280, 384), flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(warp(image, affine, (384, 1280)), expected)


def test_rows_are_padded_with_black_or_cut_off():
    image = np.full((20, 160, 3), 255, np.uint8)
    padded = warp(image, input_affine(camera(160, 20, 10), (64, 160)), (64, 160))
    assert padded[:22].max() == padded[42:].max() == 0
    assert padded[22:42].min() == 255
    tall = np.zeros((100, 160, 3), np.uint8)
    tall[8] = 255
    cut = warp(tall, input_affine(camera(160, 100, 40), (64, 160)), (64, 160))
    assert cut[0].min() == 255
    assert cut[1:].max() == 0


def test_a_much_larger_image_is_smoothed_before_it_shrinks():
    stripes = np.zeros((128, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp(stripes, input_affine(camera(640, 128, 64), (64, 320)), (64, 320))[8:-8, 8:-8]
    assert abs(small.mean() - 127.5) < 2
    assert small.std() < 2
