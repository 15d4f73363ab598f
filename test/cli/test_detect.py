import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from km3d_ros.cli import main
from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.kitti_labels import read_results
from km3d_ros.drawing.film import FilmWriter
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.inference.detector import Detector

PROJECTION = np.array([[90, 0, 74, 4.5], [0, 90, 29, 0.3], [0, 0, 1, 0.003]])


@pytest.fixture
def frames(tmp_path):
    """Three images, and a calibration file for each."""
    for folder in ("images", "calib"):
        (tmp_path / folder).mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        image = random.integers(0, 256, (60, 150, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
        write_calibration(tmp_path / "calib" / f"{name}.txt", PROJECTION)
    return tmp_path


def run(frames, weights, *options):
    """Detect in the images, without a calibration."""
    paths = ["--images", str(frames / "images"), "--out", str(frames / "out")]
    network = ["--weights", str(weights), "--device", "cpu", "--backend", "torch"]
    return main(["detect", *paths, *network, *options])


def detect(frames, weights, *options, calib="calib"):
    return run(frames, weights, "--calib", str(frames / calib), *options)


def read_lines(frames):
    return [json.loads(line) for line in (frames / "out" / "detections.jsonl").open()]


def test_detect_writes_all_numbers_of_the_detector(frames, weights):
    options = ("--score-threshold", "0", "--max-detections", "20", "--grm", "published")
    assert detect(frames, weights, *options) == 0
    lines = read_lines(frames)
    assert [line["image"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert [len(line["detections"]) for line in lines] == [20, 20, 20]
    detector = Detector.from_checkpoint(weights, "cpu", 0, 20, "published", backend="torch")
    camera = CameraModel.from_projection(PROJECTION, 150, 60)
    expected = detector(cv2.imread(str(frames / "images" / "b.png")), camera)
    for name in ("score", "peak_score", "keypoints", "center", "yaw", "alpha", "covariance"):
        values = [record[name] for record in lines[1]["detections"]]
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-5, atol=1e-5)


def test_detect_writes_one_result_file_per_image(frames, weights):
    assert detect(frames, weights, "--score-threshold", "0", "--max-detections", "20") == 0
    for name, line in zip("abc", read_lines(frames), strict=True):
        items = read_results(frames / "out" / f"{name}.txt")
        assert [item.class_name for item in items] == [
            record["class_name"] for record in line["detections"]
        ]
        scores = [record["score"] for record in line["detections"]]
        assert [item.score for item in items] == pytest.approx(scores, abs=1e-5)


def test_images_without_detections_get_empty_results(frames, weights):
    assert detect(frames, weights, "--score-threshold", "1") == 0
    assert (frames / "out" / "a.txt").read_text() == ""
    assert read_lines(frames)[0] == {"image": "a.png", "detections": []}


def test_one_calibration_file_serves_every_image(frames, weights):
    assert detect(frames, weights, "--score-threshold", "0") == 0
    separate = read_lines(frames)
    assert detect(frames, weights, "--score-threshold", "0", calib="calib/a.txt") == 0
    assert read_lines(frames) == separate


def test_one_calibration_file_serves_images_of_one_size_only(frames, weights, capsys):
    cv2.imwrite(str(frames / "images" / "b.png"), np.zeros((60, 140, 3), np.uint8))
    assert detect(frames, weights, calib="calib/a.txt") == 1
    message = f"{frames}/images/b.png: 140x60 pixels, expected 150x60 as of a.png\n"
    assert capsys.readouterr().err == f"km3d detect: {message}"
    assert detect(frames, weights) == 0


def test_draw_writes_annotated_pictures(frames, weights):
    assert detect(frames, weights, "--draw", "--score-threshold", "0") == 0
    picture = cv2.imread(str(frames / "out" / "annotated" / "a.png"))
    original = cv2.imread(str(frames / "images" / "a.png"))
    assert picture.shape == original.shape
    assert (picture != original).any()


def test_an_unreadable_image_is_named_and_finished_work_is_kept(frames, weights, capsys):
    (frames / "images" / "b.png").write_bytes(b"not an image")
    assert detect(frames, weights) == 1
    assert f"{frames}/images/b.png: not a readable PNG or JPEG image" in capsys.readouterr().err
    assert (frames / "out" / "a.txt").exists()
    assert [line["image"] for line in read_lines(frames)] == ["a.png", "c.png"]


def test_a_calibration_without_p2_is_named(frames, weights, capsys):
    (frames / "calib" / "b.txt").write_text("P0: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    assert detect(frames, weights) == 1
    assert f"{frames}/calib/b.txt: no P2" in capsys.readouterr().err
    assert not (frames / "out").exists()


@pytest.mark.parametrize("count", ["0", "101", "many"])
def test_number_of_objects_is_that_of_the_node(frames, weights, count, capsys):
    with pytest.raises(SystemExit) as stop:
        detect(frames, weights, "--max-detections", count)
    assert stop.value.code == 2
    assert f"'{count}' is not a number from 1 to 100" in capsys.readouterr().err


def test_missing_folders_and_files_are_named(frames, weights, capsys):
    assert detect(frames, weights, "--images", str(frames / "nowhere")) == 1
    assert f"{frames}/nowhere: no such file or folder" in capsys.readouterr().err
    assert detect(frames, weights, "--calib", str(frames / "nothing")) == 1
    assert f"{frames}/nothing: no such file or folder" in capsys.readouterr().err
    assert detect(frames, frames / "none.safetensors") == 1
    assert f"{frames}/none.safetensors: no such file" in capsys.readouterr().err
    assert detect(frames, weights, "--images", str(frames / "calib")) == 1
    assert f"{frames}/calib: no images in it" in capsys.readouterr().err


def centers(frames):
    return [record["center"] for line in read_lines(frames) for record in line["detections"]]


ALL = ("--score-threshold", "0", "--max-detections", "5")


def test_summary_says_what_was_found_and_which_camera_was_used(frames, weights, capsys):
    assert detect(frames, weights, *ALL) == 0
    classes = [item["class_name"] for line in read_lines(frames) for item in line["detections"]]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{frames}/out: 3 images, 15 objects (")
    assert f"{classes[0]} {classes.count(classes[0])}" in line
    assert line.endswith("; P2 of calib for rectified images")


def test_companions_of_macos_are_no_images_and_damaged_ones_are_listed(frames, weights, capsys):
    (frames / "images" / "._a.png").write_bytes(b"\x00\x05\x16\x07" + bytes(80))
    path = frames / "images" / "c.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert detect(frames, weights, *ALL) == 1
    said = capsys.readouterr()
    assert "out: 2 images, 10 objects" in said.out
    (line,) = said.err.splitlines()
    assert line.startswith(f"km3d detect: {path}: ")
    assert [line["image"] for line in read_lines(frames)] == ["a.png", "b.png"]


@pytest.mark.parametrize("size", [10, 5000])
def test_a_run_in_which_no_image_can_be_read_leaves_no_folder(frames, weights, size, capsys):
    for path in (frames / "images").iterdir():
        path.write_bytes(path.read_bytes()[:size])
    assert detect(frames, weights, "--draw") == 1
    assert not (frames / "out").exists()
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_images_of_one_name_are_refused(frames, weights, capsys):
    (frames / "images" / "a.jpg").touch()
    assert detect(frames, weights) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"km3d detect: {frames}/images/a.jpg and a.png: two images of one")


def test_one_image_is_enough(frames, weights):
    assert detect(frames, weights, *ALL) == 0
    expected = read_lines(frames)[1]
    options = ("--images", str(frames / "images" / "b.png"))
    for calib in ("calib", "calib/b.txt"):
        assert detect(frames, weights, *ALL, *options, calib=calib) == 0
        assert read_lines(frames) == [expected]


def test_projection_of_the_right_camera_moves_the_objects(frames, weights, capsys):
    numbers = "90 0 74 {} 0 90 29 0 0 0 1 0"
    calib = frames / "calib.txt"
    calib.write_text(f"P2: {numbers.format(4.5)}\nP3: {numbers.format(-45)}\n")
    assert detect(frames, weights, *ALL, calib="calib.txt") == 0
    left = np.array(centers(frames))
    assert detect(frames, weights, *ALL, "--projection", "P3", calib="calib.txt") == 0
    assert capsys.readouterr().out.endswith("; P3 of calib.txt for rectified images\n")
    moved = np.array(centers(frames)) - left
    np.testing.assert_allclose(moved[:, 0], 0.55, atol=1e-3)


def test_images_of_another_camera_than_p2_are_pointed_out(frames, weights, capsys):
    (frames / "images").rename(frames / "image_3")
    options = ("--images", str(frames / "image_3"))
    assert detect(frames, weights, *options) == 0
    assert "P2 is used, but images of image_3 belong to P3" in capsys.readouterr().err
    assert detect(frames, weights, *options, "--projection", "P3") == 1
    assert "no P3 in this calibration file" in capsys.readouterr().err


def test_calibration_of_raw_kitti_drives(frames, weights, capsys):
    numbers = " ".join(map(str, PROJECTION.reshape(-1)))
    calib = frames / "calib_cam_to_cam.txt"
    calib.write_text(f"calib_time: 09-Jan-2012\nS_rect_02: 150 60\nP_rect_02: {numbers}\n")
    assert detect(frames, weights, *ALL) == 0
    expected = read_lines(frames)
    assert detect(frames, weights, *ALL, calib=calib.name) == 0
    assert read_lines(frames) == expected
    calib.write_text(calib.read_text().replace("150 60", "1242 375"))
    assert detect(frames, weights, calib=calib.name) == 1
    cause = "calib_cam_to_cam.txt:2: for rectified images of 1242x375 pixels, got 150x60"
    assert cause in capsys.readouterr().err


CAMERA = """image_width: 150
image_height: 60
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [90, 0, 74, 0, 90, 29, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [%s, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [90, 0, 74, 0, 0, 90, 29, 0, 0, 0, 1, 0]}
"""


def test_yaml_of_camera_calibration_brings_its_lens(frames, weights, capsys):
    write_calibration(
        frames / "same.txt", np.array([[90, 0, 74, 0], [0, 90, 29, 0], [0, 0, 1.0, 0]])
    )
    assert detect(frames, weights, *ALL, calib="same.txt") == 0
    expected = centers(frames)
    for lens, is_same in (("0.0", True), ("-0.1", False)):
        (frames / "camera.yaml").write_text(CAMERA % lens)
        assert detect(frames, weights, *ALL, calib="camera.yaml") == 0
        assert capsys.readouterr().out.endswith("; camera.yaml for raw images, lens included\n")
        assert (centers(frames) == expected) is is_same


def test_focal_length_is_enough_for_a_first_look(frames, weights, capsys):
    guess = np.array([[90, 0, 74.5, 0], [0, 90, 29.5, 0], [0, 0, 1, 0]])
    write_calibration(frames / "guess.txt", guess)
    assert detect(frames, weights, *ALL, calib="guess.txt") == 0
    expected = centers(frames)
    capsys.readouterr()
    assert run(frames, weights, *ALL, "--focal", "90") == 0
    assert centers(frames) == expected
    assert "camera guessed from a focal length of 90 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "one of the arguments --calib --focal is required"),
        (["--focal", "90", "--calib", "c.txt"], "not allowed with argument"),
        (["--focal", "0.8"], "'0.8' is not a number of pixels from 10 up (focal length"),
        (["--focal", "90", "--projection", "P3"], "--projection needs a KITTI calibration"),
        (["--calib", "c.yaml", "--projection", "P3"], "--projection needs a KITTI calibration"),
        (["--calib", "c.txt", "--projection", "P4"], "invalid choice: 'P4'"),
    ],
)
def test_cameras_that_are_unclear_are_wrong_usage(frames, weights, options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run(frames, weights, *options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def film(frames):
    """The three images as a film."""
    path = frames / "drive.mp4"
    with FilmWriter(path, 5) as writer:
        for image in sorted((frames / "images").iterdir()):
            writer.write(cv2.imread(str(image)))
    return path


def test_a_film_gives_results_by_picture_and_a_film(frames, film, weights, capsys):
    options = ("--images", str(film), "--draw")
    assert detect(frames, weights, *ALL, *options, calib="calib/a.txt") == 0
    names = [f"drive_{i:06d}" for i in range(3)]
    assert [line["image"] for line in read_lines(frames)] == names
    assert [len(read_results(frames / "out" / f"{name}.txt")) for name in names] == [5] * 3
    drawn = cv2.VideoCapture(str(frames / "out" / "annotated" / "drive.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert drawn.read()[1].shape == (60, 150, 3)
    assert "out: 3 images, 15 objects" in capsys.readouterr().out


def test_a_film_that_cannot_be_read_or_has_no_single_camera_is_named(
    frames, film, weights, capsys
):
    options = ("--images", str(film))
    assert detect(frames, weights, *options) == 1
    assert (
        "calib: a folder of calibrations, expected one file for a film" in capsys.readouterr().err
    )
    film.write_bytes(film.read_bytes()[:200])
    assert detect(frames, weights, *options, calib="calib/a.txt") == 1
    assert f"{film}: not a readable film" in capsys.readouterr().err
    (frames / "notes.txt").write_text("none")
    assert detect(frames, weights, "--images", str(frames / "notes.txt")) == 1
    assert "notes.txt: neither an image nor a film (.png, .jpg" in capsys.readouterr().err
    assert not (frames / "out").exists()


@pytest.mark.parametrize(("pitch", "roll"), [(0.1, 0.0), (-0.1, 0.05)])
def test_mount_of_the_camera_is_used(frames, weights, pitch, roll):
    options = ("--score-threshold", "0", "--max-detections", "20")
    mount = ("--camera-pitch", str(pitch), "--camera-roll", str(roll))
    assert detect(frames, weights, *options, *mount) == 0
    detector = Detector.from_checkpoint(weights, "cpu", 0, 20, backend="torch")
    camera = CameraModel.from_projection(PROJECTION, 150, 60)
    level = level_from_angles(pitch, roll)
    image = cv2.imread(str(frames / "images" / "b.png"))
    expected = detector(image, replace(camera, level=level))
    records = read_lines(frames)[1]["detections"]
    centers = [record["center"] for record in records]
    np.testing.assert_allclose(centers, expected.center, rtol=1e-5)
    # The boxes of the KITTI file are upright in its frame, the level one.
    written = [item.center for item in read_results(frames / "out" / "b.txt")]
    np.testing.assert_allclose(written, expected.center @ level.T, atol=0.01)
    assert detector(image, camera).center.shape != expected.center.shape or not np.allclose(
        detector(image, camera).center, expected.center, rtol=1e-2
    )


def test_mount_beyond_the_limit_is_wrong_usage(frames, weights, capsys):
    with pytest.raises(SystemExit, match="2"):
        detect(frames, weights, "--camera-pitch", "1.5")
    assert (
        "the camera looks 86° below the horizon, expected at most 60°" in capsys.readouterr().err
    )
