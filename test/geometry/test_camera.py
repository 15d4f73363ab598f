import math
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.geometry import lens_models
from km3d_ros.geometry.camera import CameraModel, with_depth
from km3d_ros.geometry.lens_models import COEFFICIENTS

K = np.array([[700.0, 0, 640], [0, 710.0, 192], [0, 0, 1]])
PROJECTION = np.array([[721.5, 0, 609.6, 44.86], [0, 700.5, 172.9, 0.2164], [0, 0, 1, 0.00275]])
PLUMB_BOB = (-0.28, 0.09, 0.001, -0.0005, -0.01)
RATIONAL = (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02)
THIN_PRISM = (*RATIONAL, 0.002, -0.0005, -0.001, 0.0003)
EQUIDISTANT = (-0.03, 0.01, -0.004, 0.0005)
LENSES = {
    "plumb_bob": PLUMB_BOB,
    "rational_polynomial": RATIONAL,
    "equidistant": EQUIDISTANT,
}
R = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]


def camera_info(**changes):
    fields = {
        "width": 1280,
        "height": 384,
        "k": K.flatten(),
        "r": np.zeros(9),
        "p": PROJECTION.flatten(),
        "d": list(PLUMB_BOB),
        "distortion_model": "plumb_bob",
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**{**fields, **changes})


def points_in_view(count=500, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(4, 70, count)
    slopes = rng.uniform((-0.9, -0.3), (0.9, 0.3), (count, 2))
    return np.column_stack((slopes * depth[:, None], depth))


def test_projection_with_fourth_column_agrees_with_the_matrix():
    camera = CameraModel.from_projection(PROJECTION, 1242, 375)
    points = points_in_view()
    homogeneous = np.column_stack((points, np.ones(len(points)))) @ PROJECTION.T
    pixels = camera.project(points)
    np.testing.assert_allclose(pixels, homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-9)


def test_ray_through_a_projected_point_is_the_point_in_the_frame_of_k():
    camera = CameraModel.from_projection(PROJECTION, 1242, 375)
    points = points_in_view()
    shifted = points + camera.translation
    rays = camera.rays(camera.project(points))
    np.testing.assert_allclose(rays, shifted[:, :2] / shifted[:, 2:])
    assert camera.translation[0] == pytest.approx((44.86 - 609.6 * 0.00275) / 721.5)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("", ()),
        ("plumb_bob", PLUMB_BOB),
        ("rational_polynomial", RATIONAL),
        ("rational_polynomial", THIN_PRISM),
        ("rational_polynomial", (*THIN_PRISM, 0.02, -0.03)),
    ],
)
def test_polynomial_lens_equals_opencv(model, coefficients):
    camera = CameraModel.from_intrinsics(K, 1280, 384, coefficients, model)
    points = points_in_view()
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(coefficients))
    pixels = camera.project(points)
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)
    rays = camera.rays(expected[:, 0])
    np.testing.assert_allclose(rays, points[:, :2] / points[:, 2:], atol=1e-9)


def test_equidistant_lens_equals_opencv():
    camera = CameraModel.from_intrinsics(K, 1280, 384, EQUIDISTANT, "equidistant")
    points = points_in_view()
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), K, np.array(EQUIDISTANT)
    )
    pixels = camera.project(points)
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(camera.rays(pixels), points[:, :2] / points[:, 2:], atol=1e-9)


@pytest.mark.parametrize(("model", "coefficients"), LENSES.items())
def test_undistortion_holds_in_single_precision_and_at_the_principal_point(model, coefficients):
    camera = CameraModel.from_intrinsics(K, 1280, 384, coefficients, model)
    points = points_in_view()
    rays = camera.rays(camera.project(points).astype(np.float32))
    assert rays.dtype == np.float32
    assert np.abs(rays - points[:, :2] / points[:, 2:]).max() < 1e-5
    assert camera.rays(np.array([[640.0, 192.0]])).tolist() == [[0.0, 0.0]]


def test_pixel_that_the_lens_does_not_reach_has_no_ray():
    camera = CameraModel.from_intrinsics(K, 1280, 384, (-0.3,), "plumb_bob")
    # This lens turns back at r = 1.054, which it bends to 0.703: 492 px from the centre.
    rays = camera.rays(np.array([[640.0 + 480, 192], [640.0 + 500, 192]]))
    assert np.isfinite(rays).all(-1).tolist() == [True, False]
    fisheye = CameraModel.from_intrinsics(K, 1280, 384, (0.01,), "equidistant")
    behind = 640 + 700 * math.pi / 2 * 1.1
    assert np.isnan(fisheye.rays(np.array([behind, 192.0]))).all()


def one_way(model, coefficients, radius):
    """The bent radii of rays to the right, up to a radius."""
    rays = np.zeros((20000, 2))
    rays[:, 0] = np.linspace(0, radius, len(rays))
    return rays[:, 0], lens_models.distort(rays, model, coefficients)[:, 0]


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        # A pole at r² = 0.8, behind which the model comes back from the other side.
        ("rational_polynomial", (-0.9, 0, 0, 0, 0, -1.25, 0, 0)),
        # The shape of wide stereo cameras: large numbers that nearly cancel.
        ("rational_polynomial", (-7.6, 25.1, 0.0004, -0.0002, 29.9, -7.7, 25.4, 28.9)),
        ("rational_polynomial", (10.2, -38.4, 0, 0, 33.0, 9.9, -37.0, 30.2)),
        ("plumb_bob", (-0.3, 0.05, 0, 0, 0)),
        ("equidistant", (-0.2, 0.05, -0.1, 0.08)),
    ],
)
def test_rays_end_where_the_lens_model_is_no_longer_one_to_one(model, coefficients):
    radii, bent = one_way(model, coefficients, 3.0)
    falls = (np.diff(bent) < 0) | ~np.isfinite(bent[1:])
    last = int(falls.argmax()) if falls.any() else len(radii) - 1
    camera = CameraModel.from_intrinsics(
        [[300, 0, 400], [0, 300, 400], [0, 0, 1]], 800, 800, coefficients, model
    )
    inner = int(0.98 * last)
    angles = np.linspace(0, 6, 50)[:, None]
    seen = np.stack((radii[:inner] * np.cos(angles), radii[:inner] * np.sin(angles)), axis=-1)
    points = with_depth(seen)
    assert camera.sees(points).all()
    np.testing.assert_allclose(camera.rays(camera.project(points)), seen, atol=1e-5, rtol=0)
    if falls.any():
        unseen = np.stack((radii[last + 2 :], 0 * radii[last + 2 :]), axis=-1)
        points = with_depth(unseen)
        assert not camera.sees(points).any()
        found = camera.rays(camera.project(points))
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        assert (np.isnan(found) | (length < radii[last + 1])).all()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fisheye", "equidistant"),
        ("kannala_brandt", "equidistant"),
        ("Kannala-Brandt", "equidistant"),
        ("radtan", "plumb_bob"),
        ("Plumb Bob", "plumb_bob"),
        ("rational", "rational_polynomial"),
    ],
)
def test_lens_is_known_by_its_names_in_other_tools(name, model):
    by_name = CameraModel.from_intrinsics(K, 1280, 384, LENSES[model], name)
    camera = CameraModel.from_intrinsics(K, 1280, 384, LENSES[model], model)
    assert by_name.distortion_model == model
    pixels = np.array([[100.0, 50.0], [1200.0, 300.0]])
    np.testing.assert_allclose(by_name.rays(pixels), camera.rays(pixels))


def test_no_lens_may_be_called_none():
    camera = CameraModel.from_intrinsics(K, 1280, 384, [0.0] * 5, "none")
    assert camera.is_rectified
    with pytest.raises(InputError, match="'none' has 0 coefficients, got 5"):
        CameraModel.from_intrinsics(K, 1280, 384, [0.1] * 5, "none")


@pytest.mark.parametrize("skew", [0.7, -2.8])
@pytest.mark.parametrize(("model", "coefficients"), [("", ()), *LENSES.items()])
def test_skew_is_part_of_k(model, coefficients, skew):
    intrinsics = K + np.array([[0, skew, 0], [0, 0, 0], [0, 0, 0]])
    camera = CameraModel.from_intrinsics(intrinsics, 1280, 384, coefficients, model)
    points = points_in_view()
    bent = CameraModel.from_intrinsics(np.eye(3), 2, 2, coefficients, model)
    bent = bent.project(points)
    expected = np.column_stack((bent, np.ones(len(bent)))) @ intrinsics.T
    pixels = camera.project(points)
    np.testing.assert_allclose(pixels, expected[:, :2], atol=1e-9)
    np.testing.assert_allclose(camera.rays(pixels), points[:, :2] / points[:, 2:], atol=1e-9)


def test_skewed_projection_agrees_with_the_matrix():
    matrix = PROJECTION.copy()
    matrix[0, 1], matrix[1, 0] = -0.236, 0.02
    camera = CameraModel.from_projection(matrix, 1242, 375)
    points = points_in_view()
    homogeneous = np.column_stack((points, np.ones(len(points)))) @ matrix.T
    expected = homogeneous[:, :2] / homogeneous[:, 2:]
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-9)
    np.testing.assert_allclose(camera.projection, matrix, atol=1e-9)
    shifted = points + camera.translation
    rays = camera.rays(expected)
    np.testing.assert_allclose(rays, shifted[:, :2] / shifted[:, 2:])


@pytest.mark.parametrize(
    ("model", "count", "zeros"),
    [
        ("plumb_bob", 4, 0),
        ("plumb_bob", 5, 3),
        ("rational_polynomial", 8, 4),
        ("rational_polynomial", 8, 6),
        ("equidistant", 2, 0),
    ],
)
def test_coefficients_left_out_and_those_of_other_models_are_zero(model, count, zeros):
    given = [*LENSES[model][:count], *[0.0] * zeros]
    camera = CameraModel.from_intrinsics(K, 1280, 384, given, model)
    expected = np.zeros(COEFFICIENTS[model])
    expected[:count] = LENSES[model][:count]
    assert camera.distortion.tolist() == expected.tolist()


def test_zero_distortion_is_no_distortion():
    camera = CameraModel.from_intrinsics(K, 1280, 384, [0.0] * 14, "plumb_bob")
    assert camera.distortion_model == ""
    assert camera.rays(np.array([1340.0, 192.0])).tolist() == [1.0, 0.0]


def test_rectified_camera_info_is_its_p():
    camera = CameraModel.from_camera_info(camera_info(), rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (721.5, 700.5, 609.6, 172.9)
    assert camera.translation[2] == 0.00275
    assert camera.distortion_model == ""


def test_raw_camera_info_is_its_k_and_d():
    camera = CameraModel.from_camera_info(camera_info(d=list(PLUMB_BOB[:4])), rectified=False)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (700, 710, 640, 192)
    assert camera.distortion.tolist() == [*PLUMB_BOB[:4], 0]
    assert camera.rotation.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(("model", "coefficients"), LENSES.items())
def test_raw_pixels_are_seen_in_the_rectified_frame(model, coefficients):
    opencv = cv2.fisheye if model == "equidistant" else cv2
    d = np.array(coefficients)
    info = camera_info(d=coefficients, distortion_model=model, r=R.flatten())
    camera = CameraModel.from_camera_info(info, rectified=False)
    points = points_in_view()
    shift = np.linalg.solve(PROJECTION[:, :3], PROJECTION[:, 3])
    np.testing.assert_allclose(camera.translation, shift, atol=1e-15)

    before_lens = (points + shift) @ R
    expected = opencv.projectPoints(before_lens[:, None], np.zeros(3), np.zeros(3), K, d)[0]
    pixels = camera.project(points)
    np.testing.assert_allclose(pixels, expected.reshape(-1, 2), atol=1e-9)
    expected = ((points + shift) / (points + shift)[:, 2:])[:, :2]
    np.testing.assert_allclose(camera.rays(pixels), expected, atol=1e-9)

    pinhole = CameraModel.from_camera_info(info, rectified=True)
    maps = opencv.initUndistortRectifyMap(K, d, R, PROJECTION[:, :3], (1280, 384), cv2.CV_32FC1)
    on_rectified = np.stack(np.mgrid[:1280:40, :384:40], axis=-1)
    on_raw = np.stack([m.T[::40, ::40] for m in maps], axis=-1).astype(float)
    np.testing.assert_allclose(
        camera.rays(on_raw),
        pinhole.rays(on_rectified.astype(float)),
        atol=1e-6,
    )


def test_rotation_and_projection_of_zeros_are_not_given():
    info = camera_info(r=[0.0] * 9, p=[0.0] * 12)
    camera = CameraModel.from_camera_info(info, rectified=False)
    assert camera.rotation.tolist() == np.eye(3).tolist()
    assert camera.translation.tolist() == [0, 0, 0]


def test_pixel_that_looks_backwards_after_rectification_has_no_ray():
    turned = cv2.Rodrigues(np.array([0, math.radians(80), 0]))[0]
    info = camera_info(d=[], r=turned.flatten())
    camera = CameraModel.from_camera_info(info, rectified=False)
    pixels = 640 + 700 * np.array([math.tan(math.radians(angle)) for angle in (5, 15)])
    rays = camera.rays(np.stack((pixels, np.full(2, 192.0)), axis=-1))
    assert rays[0, 0] == pytest.approx(math.tan(math.radians(85)), rel=1e-4)
    assert np.isnan(rays[1]).all()


def test_a_region_of_no_size_is_the_whole_image():
    roi = SimpleNamespace(x_offset=7, y_offset=9, width=0, height=0)
    camera = CameraModel.from_camera_info(camera_info(roi=roi), rectified=True)
    assert (camera.width, camera.height, camera.cx) == (1280, 384, 609.6)


def test_binning_that_does_not_divide_leaves_whole_pixels():
    camera = CameraModel.from_camera_info(camera_info(binning_x=3, binning_y=5), rectified=True)
    assert (camera.width, camera.height) == (426, 76)
    assert camera.fx == pytest.approx(721.5 / 3)


@pytest.mark.parametrize("rectified", [True, False])
def test_region_and_binning_see_the_same_rays(rectified):
    whole = CameraModel.from_camera_info(camera_info(), rectified)
    roi = SimpleNamespace(x_offset=200, y_offset=100, width=800, height=200)
    part = CameraModel.from_camera_info(camera_info(roi=roi, binning_x=2, binning_y=4), rectified)
    assert (part.width, part.height) == (400, 50)
    pixels = np.array([[210.0, 104.0], [700.0, 180.0]], dtype=np.float64)
    scaled = (pixels - np.array([200, 100])) / np.array([2, 4])
    np.testing.assert_allclose(part.rays(scaled), whole.rays(pixels))
    np.testing.assert_allclose(part.translation, whole.translation)


@pytest.mark.parametrize(
    ("rectified", "changes", "message"),
    [
        (True, {"p": [0.0] * 12}, r"CameraInfo \(P\): focal lengths .* got fx=0, fy=0"),
        (False, {"k": [0.0] * 9}, r"CameraInfo \(K, D, R\): focal lengths .* got fx=0, fy=0"),
        (False, {"k": [-700.0, 0, 1, 0, 700, 1, 0, 0, 1]}, "got fx=-700, fy=700"),
        (False, {"k": [math.nan] * 9}, "got fx=nan"),
        (False, {"k": [700.0, 0, math.nan, 0, 700, 1, 0, 0, 1]}, "intrinsics must be finite"),
        (False, {"d": [math.inf]}, "distortion must be finite"),
        (False, {"distortion_model": "thin"}, "unknown distortion model 'thin'; known: plumb"),
        (False, {"distortion_model": ""}, "'' has 0 coefficients, got 5"),
        (False, {"d": [0.1] * 6}, "'plumb_bob' has 5 coefficients, got 6"),
        (
            False,
            {"d": [0.1] * 15, "distortion_model": "rational_polynomial"},
            "'rational_polynomial' has 14 coefficients, got 15",
        ),
        (
            False,
            {"d": [0.1] * 12 + [1.6, 0], "distortion_model": "rational_polynomial"},
            r"tilt of the sensor must be at most 1 rad, got \[1.6, 0.0\]",
        ),
        (True, {"width": 0, "height": 0}, "size must be positive, got 0x0"),
        (True, {"width": 2**32 - 1}, "focal lengths .* do not fit an image of 4294967295x384"),
        (True, {"p": [1e300, 0, 640, 0, 0, 700, 192, 0, 0, 0, 1, 0]}, r"\(1e\+300, 700\) .* fit"),
        (
            False,
            {"k": [700.0, 0, 1e30, 0, 700, 192, 0, 0, 1]},
            r"point \(1e\+30, 192\) do not fit",
        ),
        (
            False,
            {"k": [700.0, 70, 640, 0, 700, 192, 0, 0, 1]},
            "skew must be at most 5%",
        ),
        (False, {"k": [700.0, 0, 640, 0, 700, 192, 0, 0, 0]}, "last row of K must be 0 0 1, got"),
        (True, {"p": [700, 0, 640, 9e6, 0, 700, 192, 0, 0, 0, 1, 0]}, "at most 1000 m, .* of P"),
        (
            True,
            {"p": [700, 0, 640, math.inf, 0, 700, 192, 0, 0, 0, 1, 0]},
            "translation .* finite",
        ),
        (False, {"p": [0, 0, 0, 5.0, 0, 0, 0, 0, 0, 0, 0, 0]}, "translation .* finite"),
        (False, {"d": [1e20]}, "distortion .* makes no sense: no pixel .* sees anything ahead"),
        (
            False,
            {"d": [1e308, -1e200, 1e308, 1e308], "distortion_model": "fisheye"},
            "no pixel of the image sees anything ahead",
        ),
        (
            False,
            {"d": [1e200, 1e308, 0, 0, 1, 1e-308, 1, 5e-324], "distortion_model": "rational"},
            "no pixel of the image sees anything ahead",
        ),
        (False, {"r": np.diag([1, 1, -1]).flatten()}, "R must be a rotation matrix, got"),
        (False, {"r": [math.nan] * 9}, "R must be a rotation matrix, got"),
        (False, {"r": [1e200] * 9}, "R must be a rotation matrix, got"),
        (False, {"r": np.diag([-1, 1, -1]).flatten()}, "no pixel of the image sees anything"),
        (True, {"binning_x": 2**32 - 1}, "binning 4294967295x1 leaves nothing of 1280x384"),
    ],
)
def test_unusable_camera_info_is_refused(rectified, changes, message):
    with pytest.raises(InputError, match=message):
        CameraModel.from_camera_info(camera_info(**changes), rectified)


@pytest.mark.parametrize("roi", [(0, 0, 0, 9), (0, 0, 1281, 9), (1279, 0, 2, 9), (0, 2**32, 1, 1)])
def test_a_region_outside_the_image_is_refused(roi):
    x, y, width, height = roi
    region = SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height)
    words = rf"region of interest {width}x{height} at \({x}, {y}\) .* the image of 1280x384 pixels"
    with pytest.raises(InputError, match=words):
        CameraModel.from_camera_info(camera_info(roi=region), rectified=True)


def test_fisheye_without_coefficients_is_still_a_fisheye():
    camera = CameraModel.from_intrinsics(
        [[300, 0, 320], [0, 300, 240], [0, 0, 1]], 640, 480, [0, 0, 0, 0], "equidistant"
    )
    ray = camera.rays(np.array([320 + 300 * math.pi / 4, 240], dtype=np.float64))
    np.testing.assert_allclose(ray, np.array([1.0, 0.0], dtype=np.float64))


def test_unknown_lens_is_refused_even_without_coefficients():
    with pytest.raises(InputError, match="unknown distortion model 'whatever'"):
        CameraModel.from_intrinsics(np.eye(3), 640, 480, [0.0] * 5, "whatever")


def pitched(degrees):
    """The level rotation of a camera that looks down."""
    return cv2.Rodrigues(np.array([-math.radians(degrees), 0, 0]))[0]


def test_level_rotation_takes_the_axis_of_a_camera_that_looks_down_below_the_horizon():
    ahead = pitched(10) @ (0, 0, 1)
    np.testing.assert_allclose(
        ahead, (0, math.sin(math.radians(10)), math.cos(math.radians(10))), atol=1e-12
    )


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (pitched(61), "looks 61° below the horizon, expected at most 60°"),
        (pitched(-75), "looks 75° above the horizon"),
        (pitched(10) * 1.01, "level must be a rotation matrix"),
        (np.diag([1.0, -1.0, 1.0]), "level must be a rotation matrix"),
        (np.full((3, 3), math.nan), "level must be a rotation matrix"),
    ],
)
def test_mounting_that_sees_no_street_is_refused(level, message):
    camera = CameraModel.from_intrinsics(K, 1280, 384)
    with pytest.raises(InputError, match=message):
        replace(camera, level=level)
    assert not replace(camera, level=pitched(60)).is_level
    assert camera.is_level


def test_rotation_of_the_lens_and_mounting_count_together():
    camera = CameraModel.from_intrinsics(K, 1280, 384)
    with pytest.raises(InputError, match="with R and its mounting, the camera looks 65°"):
        replace(camera, rotation=pitched(40), level=pitched(25))
    replace(camera, rotation=pitched(40), level=pitched(-25))


def test_cameras_of_equal_numbers_are_equal():
    lens = {"distortion": [0.1, -0.05], "distortion_model": "plumb_bob"}
    camera = CameraModel.from_intrinsics(K, 1280, 384, **lens)
    assert camera == CameraModel.from_intrinsics(K, 1280, 384, **lens)
    assert len({camera, CameraModel.from_intrinsics(K, 1280, 384, **lens)}) == 1
    others = [
        CameraModel.from_intrinsics(K, 1280, 385, **lens),
        CameraModel.from_intrinsics(K, 1280, 384, [0.1, -0.04], "plumb_bob"),
        CameraModel.from_intrinsics(K, 1280, 384, [0.1, -0.05], "rational_polynomial"),
        replace(camera, level=pitched(1)),
        replace(camera, translation=np.array([0.0, 0.0, 1e-3])),
    ]
    assert camera not in others
