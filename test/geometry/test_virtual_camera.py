import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera

INPUT = (256, 832)
LENSES = {
    "plumb_bob": [-0.28, 0.09, 0.001, -0.0005, -0.01],
    "rational_polynomial": [0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02],
    "equidistant": [-0.02, 0.004, -0.003, 0.0006],
}


def mounted(pitch=0.0, roll=0.0):
    """The level rotation of a camera that looks down and leans to the right, in degrees."""
    down = cv2.Rodrigues(np.array([-math.radians(pitch), 0, 0]))[0]
    return down @ cv2.Rodrigues(np.array([0, 0, math.radians(roll)]))[0]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def camera(width: int, height: int, cy: float) -> CameraModel:
    k = [[0.6 * width, 0, width / 2], [0, 0.6 * width, cy], [0, 0, 1]]
    return CameraModel.from_intrinsics(k, width, height)


@pytest.mark.parametrize("size", [(1242, 375), (1224, 370), (1600, 400), (1280, 403)])
@pytest.mark.parametrize("cy", [0.3, 0.7])
def test_of_an_image_about_as_high_as_the_input_the_middle_is_seen(size, cy):
    width, height = size
    affine = virtual_camera(camera(width, height, cy * height), (384, 1280)).affine
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
    affine = virtual_camera(camera(*size, cy), (384, 1280)).affine
    assert affine[0].tolist() == [1280 / size[0], 0, 0]
    edges = np.array([[0, row, 1] for row in rows]) @ affine.T
    np.testing.assert_allclose(edges[:, 1], [0, 384], atol=1e-9)


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224), (376, 1241)])
def test_an_image_is_scaled_as_published_to_the_last_bit(size):
    height, width = size
    image = noise(*size)
    view = virtual_camera(camera(width, height, 172.85), (384, 1280))
    scale = 1280 / width
    published = np.array(
        [[scale, 0, 640 - scale * width / 2], [0, scale, 192 - scale * height / 2]]
    )
    np.testing.assert_allclose(view.affine, published, rtol=0, atol=1e-12)
    expected = cv2.warpAffine(image, published, (1280, 384), flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(view.warp(image), expected)


def test_rows_are_padded_with_black_or_cut_off():
    image = np.full((20, 160, 3), 255, np.uint8)
    padded = virtual_camera(camera(160, 20, 10), (64, 160)).warp(image)
    assert padded[:22].max() == padded[42:].max() == 0
    assert padded[22:42].min() == 255
    tall = np.zeros((100, 160, 3), np.uint8)
    tall[8] = 255
    cut = virtual_camera(camera(160, 100, 40), (64, 160)).warp(tall)
    assert cut[0].min() == 255
    assert cut[1:].max() == 0


def test_a_much_larger_image_is_smoothed_before_it_shrinks():
    stripes = np.zeros((128, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    small = virtual_camera(camera(640, 128, 64), (64, 320)).warp(stripes)[8:-8, 8:-8]
    assert abs(small.mean() - 127.5) < 2
    assert small.std() < 2


def fisheye(degrees, width=1280, height=960):
    """An ideal fisheye lens with this horizontal field of view."""
    focal = width / math.radians(degrees)
    k = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    return CameraModel.from_intrinsics(k, width, height, [0.0] * 4, "equidistant")


def pinhole(degrees, width=1280, height=400):
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    k = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    return CameraModel.from_intrinsics(k, width, height)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (pinhole(90), 90),
        (pinhole(41), 41),
        (pinhole(20), 40),
        (pinhole(140), 100),
        (fisheye(70), 62.8),  # the pinhole with the focal length of the fisheye
        (fisheye(190), 100),
        (fisheye(30), 40),
        (replace(pinhole(90), level=mounted(10, 3)), 90),
    ],
)
def test_field_of_view_is_that_of_the_camera_as_far_as_the_network_has_learned_it(view, expected):
    assert virtual_camera(view, INPUT).field_of_view == pytest.approx(expected, abs=0.5)
    assert virtual_camera(view, INPUT, 75.0).field_of_view == pytest.approx(75)


def test_long_lens_is_padded_and_a_wide_one_is_cut():
    narrow = virtual_camera(pinhole(20), INPUT)
    edges = narrow.from_camera(np.array([[0.0, 200], [1280, 200]]))[:, 0]
    share = math.tan(math.radians(10)) / math.tan(math.radians(20))
    np.testing.assert_allclose(edges, [416 - 416 * share, 416 + 416 * share], atol=1e-9)
    assert narrow.warp(np.full((400, 1280, 3), 255, np.uint8))[:, :200].max() == 0
    wide = virtual_camera(pinhole(140), INPUT)
    assert wide.from_camera(np.array([0.0, 200]))[0] < -400


def test_rows_of_a_turned_camera_are_those_about_the_true_horizon():
    tall = pinhole(60, 640, 480)
    for pitch in (-8, 5, 8):
        view = virtual_camera(replace(tall, level=mounted(pitch)), INPUT)
        assert view.intrinsics[1, 2] == pytest.approx(128)
    steep = virtual_camera(replace(tall, level=mounted(50)), INPUT)
    assert steep.intrinsics[1, 2] < 0
    top = steep.from_camera(np.array([319.5, 0.0]))
    assert top[1] == pytest.approx(0, abs=1)


CAMERAS = {
    "level": pinhole(80),
    "pitched": replace(pinhole(80), level=mounted(10)),
    "rolled": replace(pinhole(80), level=mounted(-5, 8)),
    "second of a pair": CameraModel.from_projection(
        [[700, 0, 640, -70], [0, 700, 192, 0], [0, 0, 1, 0]], 1280, 384
    ),
    "fisheye": replace(fisheye(190), level=mounted(8, -4)),
    **{
        name: CameraModel.from_intrinsics(
            [[700, 0, 630], [0, 710, 200], [0, 0, 1]], 1280, 384, lens, name
        )
        for name, lens in LENSES.items()
    },
}


@pytest.mark.parametrize("name", CAMERAS)
def test_pixels_go_to_the_camera_and_come_back(name):
    view = virtual_camera(CAMERAS[name], INPUT)
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (832, 256), (200, 2))
    in_camera = view.to_camera(pixels)
    seen = ((in_camera > 0) & (in_camera < view.camera.size)).all(-1)
    assert seen.sum() > 60
    np.testing.assert_allclose(view.from_camera(in_camera[seen]), pixels[seen], atol=1e-3)


@pytest.mark.parametrize("name", CAMERAS)
def test_point_is_where_camera_and_virtual_camera_see_it(name):
    view = virtual_camera(CAMERAS[name], INPUT)
    rng = np.random.default_rng(1)
    depth = rng.uniform(5, 60, (100, 1))
    points = np.hstack((rng.uniform(-0.4, 0.4, (100, 2)) * (1, 0.3), np.ones((100, 1)))) * depth
    on_input = view.from_camera(view.camera.project(points))
    level = points @ view.camera.level.T
    homogeneous = np.hstack((level, np.ones((100, 1)))) @ view.projection.T
    expected = homogeneous[:, :2] / homogeneous[:, 2:]
    np.testing.assert_allclose(on_input, expected, atol=1e-3)


@pytest.mark.parametrize("name", CAMERAS)
def test_image_shows_each_point_where_the_projection_says(name):
    view = virtual_camera(CAMERAS[name], INPUT)
    for point in ((-2.0, 0.3, 12.0), (1.0, -0.2, 9.0), (4.0, 0.5, 15.0)):
        column, row = view.camera.project(np.array(point))
        image = np.zeros((view.camera.height, view.camera.width, 3), np.uint8)
        cv2.circle(image, (round(column), round(row)), 9, (255, 255, 255), cv2.FILLED)
        seen = view.warp(image)[..., 0].astype(float)
        assert seen.shape == INPUT
        columns, rows = np.meshgrid(np.arange(832), np.arange(256))
        middle = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        expected = view.from_camera(np.array([round(column), round(row)], float))
        np.testing.assert_allclose(middle, expected, atol=0.35)


def test_only_what_is_bent_or_turned_is_resampled_by_a_map():
    assert virtual_camera(CAMERAS["second of a pair"], INPUT).affine is not None
    others = [name for name in CAMERAS if name not in ("level", "second of a pair")]
    assert all(virtual_camera(CAMERAS[name], INPUT).affine is None for name in others)


def test_map_of_a_camera_that_is_hardly_turned_gives_the_image_of_the_affine():
    smooth = cv2.GaussianBlur(noise(400, 1280), (0, 0), 5)
    plain = pinhole(80)
    turned = virtual_camera(replace(plain, level=mounted(1e-6)), INPUT)
    difference = turned.warp(smooth).astype(int) - virtual_camera(plain, INPUT).warp(smooth)
    assert np.abs(difference[2:-2, 2:-2]).max() <= 2


def test_boxes_are_the_extent_of_their_bent_outlines_within_the_image():
    view = virtual_camera(CAMERAS["fisheye"], INPUT)
    boxes = np.array([[300.0, 100, 380, 160], [-50, 20, 900, 240]])
    found = view.boxes_to_camera(boxes)
    outline = np.array(
        [(x, y) for x in np.linspace(300, 380, 50) for y in np.linspace(100, 160, 50)]
    )
    pixels = view.to_camera(outline)
    np.testing.assert_allclose(found[0], [*pixels.min(0), *pixels.max(0)], atol=0.2)
    assert (found >= 0).all()
    assert (found <= [1279, 959, 1279, 959]).all()
    plain = virtual_camera(pinhole(80), INPUT)
    back = plain.boxes_from_camera(plain.boxes_to_camera(boxes[:1]))
    np.testing.assert_allclose(back, boxes[:1])


def test_pixels_that_the_lens_does_not_image_are_black_and_end_at_its_edge():
    narrow = CameraModel.from_intrinsics(
        [[600, 0, 640], [0, 600, 200], [0, 0, 1]], 1280, 400, [-0.35, 0.0], "plumb_bob"
    )
    view = virtual_camera(narrow, INPUT, 100.0)
    white = view.warp(np.full((400, 1280, 3), 255, np.uint8))
    assert white[128, 416].min() == 255
    assert white[128, 0].max() == white[128, -1].max() == 0
    outside = view.to_camera(np.array([[-1e4, 128.0], [1e4, 128.0]]))
    assert np.isfinite(outside).all()
    assert outside[0, 0] < 640 < outside[1, 0]
    np.testing.assert_allclose(outside[:, 1], 200, atol=1)


@pytest.mark.parametrize("turned", ["level", "rotation"])
@pytest.mark.parametrize("roll", [90, -90, 84, -97])
def test_camera_on_its_side_sees_its_rows_as_columns(roll, turned):
    k = [[500, 0, 640], [0, 550, 330], [0, 0, 1]]
    upright = CameraModel.from_intrinsics(k, 1280, 720)
    view = virtual_camera(replace(upright, **{turned: mounted(0, roll)}), INPUT)
    above, below = math.atan(330 / 550), math.atan(390 / 550)
    assert view.field_of_view == pytest.approx(math.degrees(above + below), abs=0.5)
    white = view.warp(np.full((720, 1280, 3), 255, np.uint8))
    assert white[100:156, 12:-12].min() == 255
    # Of the rows, those about the horizon.
    assert view.intrinsics[1, 2] == pytest.approx(128)


def test_narrow_camera_on_its_side_is_padded():
    k = [[600, 0, 640], [0, 600, 200], [0, 0, 1]]
    upright = CameraModel.from_intrinsics(k, 1280, 400)
    view = virtual_camera(replace(upright, level=mounted(0, 90)), INPUT)
    assert view.field_of_view == pytest.approx(40, abs=0.1)  # not more than 37 are seen
    white = view.warp(np.full((400, 1280, 3), 255, np.uint8))
    assert white[:, 40:-40].min() == 255
    assert white[:, :20].max() == white[:, -20:].max() == 0


def test_view_changes_little_where_a_camera_turns_little():
    """No angle of roll has a rule of its own."""
    model = pinhole(80, 1280, 720)
    views = [virtual_camera(replace(model, level=mounted(0, r)), INPUT) for r in range(1, 180)]
    scales = np.array([view.scale for view in views])
    assert np.abs(np.diff(np.log(scales))).max() < 0.05
    np.testing.assert_allclose(scales[:20], virtual_camera(model, INPUT).scale, rtol=1e-12)


def test_camera_whose_image_is_not_in_the_view_is_refused():
    # A strip beside the axis: with this mounting it is farther aside than the view.
    aside = CameraModel.from_intrinsics([[1000, 0, -800], [0, 1000, 100], [0, 0, 1]], 200, 200)
    assert virtual_camera(aside, INPUT).affine is not None
    with pytest.raises(InputError, match="sees nothing of the network's view"):
        virtual_camera(replace(aside, level=mounted(59)), INPUT)


@pytest.mark.parametrize("pitch", [-10, -5, 5, 10])
def test_tilt_moves_the_horizon_nowhere(pitch):
    """A few black rows cost less than a street that the network sees higher or lower."""
    level = pinhole(71, height=720)
    view = virtual_camera(replace(level, level=mounted(pitch)), INPUT)
    np.testing.assert_allclose(view.intrinsics, virtual_camera(level, INPUT).intrinsics, atol=1e-9)


@pytest.mark.parametrize("strength", [-0.3, -0.05, 0.05])
def test_lens_does_not_change_the_scale(strength):
    straight = pinhole(71)
    k, height = straight.intrinsics, straight.height
    bent = CameraModel.from_intrinsics(k, 1280, height, [strength], "plumb_bob")
    expected = virtual_camera(straight, INPUT).scale
    assert virtual_camera(bent, INPUT).scale == pytest.approx(expected, rel=1e-12)
