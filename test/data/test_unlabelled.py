import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import cv2
import numpy as np
import pytest
from support.cameras import HEIGHT, LENSES, RAW, WIDTH, K, P, difference, picture, ros_calibration

from km3d_ros.data.calibration import read_camera, write_calibration
from km3d_ros.data.extraction import CameraImage, extract_once
from km3d_ros.data.level_view import level_view
from km3d_ros.data.unlabelled import kitti_frames, open_unlabelled
from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i:03d}.png"), picture(i))
    return folder


def paths(frames):
    return [frame.image_path for frame in frames]


def test_kitti_folder_needs_no_labels(tmp_path, images):
    shutil.copytree(images, tmp_path / "testing" / "image_2")
    (tmp_path / "testing" / "calib").mkdir()
    for i in range(3):
        write_calibration(tmp_path / "testing" / "calib" / f"{i:03d}.txt", P)
    frames = kitti_frames(tmp_path / "testing")
    assert [frame.name for frame in frames] == ["000", "001", "002"]
    (tmp_path / "testing" / "calib" / "001.txt").unlink()
    with pytest.raises(InputError, match=r"calib/001\.txt: no such file"):
        kitti_frames(tmp_path / "testing")


def test_kitti_frames_have_their_own_cameras(tmp_path, images):
    shutil.copytree(images, tmp_path / "image_2")
    (tmp_path / "calib").mkdir()
    for i in range(3):
        write_calibration(tmp_path / "calib" / f"{i:03d}.txt", P + np.eye(3, 4) * [[i], [i], [0]])
    frames = kitti_frames(tmp_path)
    assert [frame.projection[0, 0] for frame in frames] == [100, 101, 102]
    assert frames[2].projection[0, 3] == -7
    assert frames[1].image_path == tmp_path / "image_2" / "001.png"


def test_kitti_calibration_serves_a_folder_of_images_as_it_is(tmp_path, images):
    write_calibration(tmp_path / "camera.txt", P)
    frames = open_unlabelled(images, tmp_path / "camera.txt", tmp_path / "cache")
    assert [frame.image_path for frame in frames] == sorted(images.iterdir())
    for frame in frames:
        np.testing.assert_allclose(frame.projection, P, atol=1e-12)
    assert not (tmp_path / "cache").exists()


def test_ros_calibration_without_distortion_serves_the_images_as_they_are(tmp_path, images):
    frames = open_unlabelled(images, ros_calibration(tmp_path / "camera.yaml"), tmp_path / "cache")
    assert frames[2].image_path == images / "002.png"
    np.testing.assert_allclose(frames[2].projection, RAW, atol=1e-12)


@pytest.mark.parametrize("model", [None, "", "plumb_bob"])
def test_image_of_another_size_than_the_camera_is_named(tmp_path, images, model):
    if model is None:
        camera = tmp_path / "camera.txt"
        write_calibration(camera, P)
    else:
        camera = ros_calibration(tmp_path / "camera.yaml", model, LENSES.get(model, ()))
    cv2.imwrite(str(images / "001.png"), picture()[:, :100])
    message = rf"001\.png: {100}x{HEIGHT} pixels, expected {WIDTH}x{HEIGHT} as of 000\.png$"
    with pytest.raises(InputError, match=message):
        open_unlabelled(images, camera, tmp_path / "cache")


@pytest.mark.parametrize("model", LENSES)
def test_raw_images_become_the_pinhole_images_that_opencv_makes(tmp_path, images, model):
    lens = np.array(LENSES[model])
    camera = ros_calibration(tmp_path / "camera.yaml", model, LENSES[model])
    frames = open_unlabelled(images, camera, tmp_path / "cache")
    undistort = cv2.fisheye if model == "equidistant" else cv2
    maps = undistort.initUndistortRectifyMap(K, lens, np.eye(3), K, (WIDTH, HEIGHT), cv2.CV_32FC1)
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.projection, RAW, atol=1e-12)
        expected = cv2.remap(picture(i), *maps, cv2.INTER_LINEAR)
        assert difference(level_view(frame)[0], expected) < 3
        assert difference(picture(i), expected) > 5


def test_images_of_a_turned_camera_are_rectified(tmp_path, images):
    turn = cv2.Rodrigues(np.array([0.02, -0.05, 0.03]))[0]
    matrix = {"data": turn.flatten().tolist()}
    camera = ros_calibration(tmp_path / "camera.yaml", rectification_matrix=matrix)
    frames = open_unlabelled(images, camera, tmp_path / "cache")
    seen = cv2.warpPerspective(picture(), K @ turn @ np.linalg.inv(K), (WIDTH, HEIGHT))
    inner = np.s_[10:-10, 10:-10]
    assert difference(level_view(frames[0])[0][inner], seen[inner]) < 2
    assert difference(picture()[inner], seen[inner]) > 10
    np.testing.assert_allclose(frames[0].projection, RAW, atol=1e-12)


def test_interrupted_extraction_leaves_no_folder_and_starts_again(tmp_path):
    camera = CameraModel.from_projection(P, WIDTH, HEIGHT)

    def frames(count, error=None):
        yield from (CameraImage(f"{i}", picture(i), camera) for i in range(count))
        if error:
            raise error

    with pytest.raises(KeyboardInterrupt):
        extract_once(tmp_path, "drive", lambda: frames(2, KeyboardInterrupt()))
    assert [path.name for path in tmp_path.iterdir()] == [".drive.lock"]
    (tmp_path / ".drive.part" / "image_2").mkdir(parents=True)
    (tmp_path / ".drive.part" / "image_2" / "9.jpg").touch()
    folder = extract_once(tmp_path, "drive", lambda: frames(1))
    assert [frame.name for frame in kitti_frames(folder)] == ["0"]


def test_who_extracts_at_the_same_time_waits_for_the_first(tmp_path):
    meeting, started = Barrier(3), []

    def frames():
        started.append(1)
        yield CameraImage("0", picture(), CameraModel.from_projection(P, WIDTH, HEIGHT))

    def extract(_):
        meeting.wait()
        return len(kitti_frames(extract_once(tmp_path, "drive", frames)))

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(extract, range(3))) == [1, 1, 1]
    assert len(started) == 1


def test_projection_of_a_rectified_ros_calibration_is_used(tmp_path):
    camera = read_camera(ros_calibration(tmp_path / "c.yaml", "plumb_bob", [1.0]), 160, 96, True)
    assert camera.distortion_model == ""
    np.testing.assert_array_equal(camera.intrinsics, P[:, :3])
    np.testing.assert_allclose(camera.translation, [-0.07, 0, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_width": 640}, "calibrated for images of 640x96, got 160x96"),
        ({"camera_matrix": None}, "no camera_matrix in this ROS camera calibration"),
        ({"camera_matrix": {"data": [1, 2]}}, "camera_matrix has 2 numbers, not 9"),
        ({"camera_matrix": {"data": [0.0] * 9}}, "focal lengths must be positive"),
        ({"rectification_matrix": {"data": [2.0] * 9}}, "R must be a rotation matrix"),
        ({"image_width": float("inf")}, "cannot convert float infinity to integer"),
        ({"distortion_model": ["plumb_bob"]}, "unknown distortion model"),
        ({"camera_matrix": "K"}, "not a ROS camera calibration"),
        ({"distortion_coefficients": {"data": ["x"]}}, "could not convert string to float: 'x'"),
        ({"distortion_model": "thin_prism", "distortion_coefficients": {"data": [1]}}, "unknown"),
    ],
)
def test_camera_file_that_cannot_be_used_is_named(tmp_path, changes, message):
    path = ros_calibration(tmp_path / "camera.yaml", **changes)
    with pytest.raises(InputError, match=rf"camera\.yaml: .*{message}"):
        read_camera(path, WIDTH, HEIGHT)


@pytest.mark.parametrize("text", ["%YAML:1.0\nK: !!opencv-matrix\n  rows: 3", "[1", "- 1"])
def test_file_that_is_no_ros_calibration_is_named(tmp_path, text):
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(InputError, match=r"camera\.yaml: not a (YAML file|ROS camera calibr)"):
        read_camera(tmp_path / "camera.yaml", WIDTH, HEIGHT)


def check_level_view(frame, level, k, translation=(0.0, 0.0, 0.0), seed=0):
    """The frame shows `picture(seed)` as a level camera with its projection sees it."""
    projection = frame.projection
    middle = np.array([WIDTH - 1, HEIGHT - 1]) / 2
    k_level, turn = projection[:, :3], level @ np.linalg.inv(k)
    homography = k_level @ turn
    # The middle of the image stays there, and focal lengths stay as they are.
    ahead = homography @ (*middle, 1)
    np.testing.assert_allclose(ahead[:2] / ahead[2], middle)
    np.testing.assert_allclose(k_level[:, :2], k[:, :2])
    np.testing.assert_allclose(np.linalg.inv(k_level) @ projection[:, 3], level @ translation)
    expected = cv2.warpPerspective(picture(seed), homography, (WIDTH, HEIGHT))
    inner = np.s_[10:-10, 10:-10]
    assert difference(level_view(frame)[0][inner], expected[inner]) < 2
    assert difference(picture(seed)[inner], expected[inner]) > 5


@pytest.mark.parametrize(("pitch", "roll"), [(0.15, 0.0), (-0.2, 0.0), (0.1, -0.1), (0.0, 0.1)])
def test_images_of_a_camera_that_does_not_look_level_are_turned_to_the_horizon(
    tmp_path, images, pitch, roll
):
    mounting, level = Mounting(pitch=pitch, roll=roll), level_from_angles(pitch, roll)
    camera = ros_calibration(tmp_path / "camera.yaml")
    frames = open_unlabelled(images, camera, tmp_path / "cache", mounting=mounting)
    for i, frame in enumerate(frames):
        check_level_view(frame, level, K, (-0.07, 0, 0), i)


def test_lens_and_mount_are_undone_together(tmp_path, images):
    level, lens = level_from_angles(0.15, 0.05), np.array(LENSES["plumb_bob"])
    camera = ros_calibration(tmp_path / "camera.yaml", "plumb_bob", LENSES["plumb_bob"])
    mounting = Mounting(pitch=0.15, roll=0.05)
    (frame, *_) = open_unlabelled(images, camera, tmp_path / "cache", mounting=mounting)
    target = frame.projection[:, :3]
    maps = cv2.initUndistortRectifyMap(K, lens, level, target, (WIDTH, HEIGHT), cv2.CV_32FC1)
    expected = cv2.remap(picture(), *maps, cv2.INTER_LINEAR)
    assert difference(level_view(frame)[0], expected) < 3
