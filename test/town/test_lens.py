"""Town through a lens is Town through a pinhole, bent as OpenCV bends it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import angles_of, level_from_angles
from km3d_ros.town import render, sample_scene
from km3d_ros.town.lens import LENSES as RANGES
from km3d_ros.town.lens import photograph, sample_camera, take

WIDTH, HEIGHT = 640, 192
K = np.array([[400.0, 0, 310], [0, 400, 100], [0, 0, 1]])
LENSES = {
    "plumb_bob": (-0.28, 0.09, 0.001, -0.0005, -0.01),
    "rational_polynomial": (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02),
    "equidistant": (-0.02, 0.004, -0.003, 0.0006),
}


@pytest.fixture(scope="module")
def frame():
    """Wider and sharper than the cameras."""
    return render(sample_scene(3, 1), 1600, 600, 600 / 1600)


def straight_picture(frame, intrinsics=K):
    """The frame as a pinhole sees it, by OpenCV."""
    to_camera = intrinsics @ np.linalg.inv(frame.projection[:, :3])
    return cv2.warpPerspective(frame.image, to_camera, (WIDTH, HEIGHT))


def difference(image, other):
    return np.abs(image.astype(int) - other)[10:-10, 20:-20].mean()


@pytest.mark.parametrize("model", LENSES)
def test_a_lens_bends_the_picture_as_opencv_does(frame, model):
    lens = np.array(LENSES[model])
    image = photograph(frame, CameraModel.from_intrinsics(K, WIDTH, HEIGHT, lens, model))
    opencv = cv2.fisheye if model == "equidistant" else cv2
    maps = opencv.initUndistortRectifyMap(K, lens, np.eye(3), K, (WIDTH, HEIGHT), cv2.CV_32FC1)
    undistorted = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    moved = straight_picture(frame, K + [[0, 0, 0.5], [0, 0, 0], [0, 0, 0]])
    expected = straight_picture(frame)
    assert difference(undistorted, expected) < difference(moved, expected)
    assert difference(image, expected) > 5 * difference(undistorted, expected)


def test_a_pinhole_sees_a_part_of_the_frame_itself(frame):
    projection = frame.projection.copy()
    projection[:2, 2] -= 300, 200
    image = photograph(frame, CameraModel.from_projection(projection, WIDTH, HEIGHT))
    np.testing.assert_array_equal(image, frame.image[200:392, 300:940])


def test_a_photograph_is_black_where_the_frame_does_not_reach(frame):
    k = [[150, 0, 320], [0, 150, 96], [0, 0, 1]]
    image = photograph(frame, CameraModel.from_intrinsics(k, WIDTH, HEIGHT, (), "equidistant"))
    edges = (np.array([0, 1599]) - frame.projection[0, 2]) / 600
    left, right = (320 + 150 * np.arctan(edges)).astype(int)
    assert image[96, : left - 1].max() == image[96, right + 3 :].max() == 0
    assert image[96, left + 2 : right].max(axis=1).min() > 0


def corners_in_image(item, camera):
    """The corners of a box of the level frame in pixels, by OpenCV."""
    length, width, height = item.size
    x, y, z = np.array(np.meshgrid([-length, length], [-height, height], [-width, width])) / 2
    c, s = np.cos(item.yaw), np.sin(item.yaw)
    corners = np.stack((c * x + s * z, y, c * z - s * x), -1).reshape(-1, 3) + item.center
    into_camera, _ = cv2.Rodrigues(camera.level.T)
    k, lens = camera.intrinsics, camera.distortion
    if camera.distortion_model == "equidistant":
        return cv2.fisheye.projectPoints(corners[:, None], into_camera, np.zeros(3), k, lens)[0][
            :, 0
        ]
    return cv2.projectPoints(corners, into_camera, np.zeros(3), k, lens)[0][:, 0]


@pytest.mark.parametrize("model", ["", *LENSES])
@pytest.mark.parametrize(("pitch", "roll"), [(0.1, 0.0), (-0.08, 0.05), (0.0, -0.1)])
def test_labels_of_a_photograph_are_boxes_of_the_level_frame_in_its_image(model, pitch, roll):
    camera = CameraModel.from_intrinsics(K, WIDTH, HEIGHT, LENSES.get(model, ()), model)
    camera = replace(camera, level=level_from_angles(pitch, roll))
    labelled = [item for item in take(sample_scene(3, 7), camera)[0].objects if item.has_box3d]
    assert len(labelled) > 5
    for item in labelled:
        if item.center[2] < 8:  # nearer boxes reach behind the camera, or bend much
            continue
        pixels = corners_in_image(item, camera)
        limits = (WIDTH - 1, HEIGHT - 1)
        box = np.concatenate(
            [np.clip(pixels.min(0), 0, limits), np.clip(pixels.max(0), 0, limits)]
        )
        np.testing.assert_allclose(item.box2d, box, atol=1.0 if model else 1e-3)


def test_a_photograph_of_the_scenes_own_camera_is_the_frame(frame):
    scene = sample_scene(3, 1)
    direct = render(scene, WIDTH, HEIGHT, 400 / WIDTH)
    camera = CameraModel.from_projection(direct.projection, WIDTH, HEIGHT)
    (taken,) = take(scene, camera)
    labels = {item.center: item for item in taken.objects if item.has_box3d}
    shared = [item for item in direct.objects if item.center in labels]
    assert len(shared) > 3
    for item in shared:
        assert labels[item.center].yaw == item.yaw
        np.testing.assert_allclose(labels[item.center].box2d, item.box2d, atol=0.01)
        assert labels[item.center].truncation == pytest.approx(item.truncation, abs=1e-3)
    # The images differ by noise and by the sharpness of the rendered one.
    moved = np.roll(taken.image, 3, axis=1)
    assert difference(taken.image, direct.image) < 0.6 * difference(moved, direct.image)


@pytest.mark.parametrize("pitch", [0.1, -0.1])
def test_a_camera_that_looks_down_sees_the_street_higher_in_its_image(pitch):
    level = CameraModel.from_intrinsics(K, WIDTH, 400)
    tilted = replace(level, level=level_from_angles(pitch, 0.0))
    before, after = (photo.objects for photo in take(sample_scene(3, 7), level, tilted))
    rows = {item.center: item.box2d[3] for item in before}
    moved = [item.box2d[3] - rows[item.center] for item in after if 10 < item.center[2] < 70]
    assert len(moved) > 5
    np.testing.assert_allclose(moved, -np.sign(pitch) * 400 * np.tan(0.1), atol=6)


@pytest.mark.parametrize("model", LENSES)
def test_a_photograph_is_black_only_where_the_lens_images_nothing(model):
    camera = CameraModel.from_intrinsics(K, WIDTH, HEIGHT, LENSES[model], model)
    (photo,) = take(sample_scene(3, 1), replace(camera, level=level_from_angles(0.1, -0.05)))
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1)
    imaged = np.isfinite(camera.rays(pixels)).all(-1)
    assert imaged.mean() > 0.99
    assert (photo.image.max(-1) > 0)[imaged].all()


def test_cameras_of_a_seed_are_tilted_and_bent_within_their_limits():
    cameras = [sample_camera(5, k, WIDTH, HEIGHT, 0.7, 0.2, True) for k in range(60)]
    angles = np.array([angles_of(camera.level) for camera in cameras])
    assert (np.abs(angles) < (0.2, 0.1)).all()
    assert (angles.max(0) > (0.15, 0.07)).all()
    assert (angles.min(0) < (-0.15, -0.07)).all()
    assert {camera.distortion_model for camera in cameras} == set(RANGES)
    again = sample_camera(5, 7, WIDTH, HEIGHT, 0.7, 0.2, True)
    np.testing.assert_array_equal(again.distortion, cameras[7].distortion)
    np.testing.assert_array_equal(again.level, cameras[7].level)
    plain = sample_camera(5, 7, WIDTH, HEIGHT, 0.7, 0.0, False)
    assert plain.is_rectified
    np.testing.assert_array_equal(plain.level, np.eye(3))
