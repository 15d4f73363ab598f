"""`km3d extract`: a KITTI folder from a bag, ready for 2D boxes; all of it or nothing."""

import sqlite3
import sys
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from support.box_files import line
from support.camera_bags import drive, header, image, info, jpeg, record
from support.cameras import HEIGHT, LENSES, RAW, WIDTH, K, P, difference, picture, ros_calibration
from support.ros1_bags import record_ros1

from km3d_ros.cli import main
from km3d_ros.data import extraction
from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.calibration import read_projection, write_calibration
from km3d_ros.data.image_file import read_image
from km3d_ros.errors import pip_install

LENS = LENSES["plumb_bob"]


def extract(bag, out, *options):
    return main(["extract", str(bag), "--out", str(out), *map(str, options)])


def names(out, part="image_2"):
    return sorted(path.stem for path in (out / part).iterdir())


def written(out, name="000000"):
    """Image and P2."""
    return read_image(out / "image_2" / f"{name}.jpg"), read_projection(out / f"calib/{name}.txt")


def recorded_camera(path, topic="/cam/image_raw", make=image, count=1, lens=LENS):
    messages = [("/cam/camera_info", info(0, lens=lens))]
    return record(path, *messages, *((topic, make(i)) for i in range(count)))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_images_of_a_bag_become_a_kitti_folder(tmp_path, capsys, storage):
    assert extract(drive(tmp_path / "a", storage=storage), tmp_path / "new" / "out") == 0
    out = tmp_path / "new" / "out"
    assert sorted(path.name for path in out.iterdir()) == ["calib", "image_2"]
    assert names(out) == names(out, "calib") == ["000000", "000001", "000002"]
    for i, name in enumerate(names(out)):
        pixels, projection = written(out, name)
        assert difference(pixels, picture(i)) < 3
        np.testing.assert_allclose(projection, RAW, atol=1e-12)
    shown = capsys.readouterr()
    assert shown.out == (
        f"{out}: 3 of 3 images of /cam/image_raw; 160x96, raw, no lens distortion in the "
        "calibration\n"
    )
    assert shown.err == ""
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("topic", "make"), [("/cam/image_raw", image), ("/cam/image_raw/compressed", jpeg)]
)
def test_raw_images_lose_the_distortion_of_the_lens(tmp_path, capsys, topic, make):
    bag = recorded_camera(tmp_path / "a.mcap", topic, make)
    assert extract(bag, tmp_path / "out") == 0
    pixels, projection = written(tmp_path / "out")
    assert difference(pixels, cv2.undistort(picture(), K, np.array(LENS))) < 3
    assert difference(picture(), pixels) > 5
    np.testing.assert_allclose(projection, RAW, atol=1e-12)
    expected = f"1 of 1 image of {topic}; 160x96, raw, lens distortion removed\n"
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: {expected}"


def test_where_the_lens_model_ends_the_picture_is_black(tmp_path):
    """The model has its pole at r = 0.65: 71 pixels from the middle, which the corners exceed."""
    lens = [-2.3, 0, 0, 0, 0, -2.35, 0, 0]
    bag = record(
        tmp_path / "a.mcap",
        ("/cam/camera_info", info(0, model="rational_polynomial", lens=lens)),
        ("/cam/image_raw", image(0)),
    )
    assert extract(bag, tmp_path / "out") == 0
    pixels, _ = written(tmp_path / "out")
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    radius = np.hypot((columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1])
    assert pixels[radius > 0.7].max() < 30
    assert pixels[radius < 0.4].max() > 150


def test_rectified_images_stay_as_they_are(tmp_path, capsys):
    bag = recorded_camera(tmp_path / "a.mcap", "/cam/image_rect")
    assert extract(bag, tmp_path / "out") == 0
    pixels, projection = written(tmp_path / "out")
    assert difference(pixels, picture()) < 3
    np.testing.assert_allclose(projection, P, atol=1e-12)
    assert "1 of 1 image of /cam/image_rect; 160x96, rectified\n" in capsys.readouterr().out


def test_ros_1_bag_gives_the_same_folder(tmp_path):
    entries = [("/cam/camera_info", info(0, lens=LENS), 1), ("/cam/image_raw", image(0), 2)]
    bag = record_ros1(tmp_path / "a.bag", entries)
    assert extract(bag, tmp_path / "out") == 0
    pixels, projection = written(tmp_path / "out")
    assert difference(pixels, cv2.undistort(picture(), K, np.array(LENS))) < 3
    np.testing.assert_allclose(projection, RAW, atol=1e-12)


def test_camera_file_replaces_camera_info(tmp_path):
    bag = record(tmp_path / "a.mcap", ("/cam/image_raw", image(0)))
    write_calibration(tmp_path / "camera.txt", P)
    ros = ros_calibration(tmp_path / "camera.yaml", "plumb_bob", LENS)
    assert extract(bag, tmp_path / "kitti", "--camera", tmp_path / "camera.txt") == 0
    assert extract(bag, tmp_path / "ros", "--camera", ros) == 0
    pixels, projection = written(tmp_path / "kitti")
    assert difference(pixels, picture()) < 3
    np.testing.assert_allclose(projection, P, atol=1e-12)
    pixels, projection = written(tmp_path / "ros")
    assert difference(pixels, cv2.undistort(picture(), K, np.array(LENS))) < 3
    np.testing.assert_allclose(projection, RAW, atol=1e-12)


def test_topic_chooses_a_camera(tmp_path, capsys):
    messages = [(f"/{side}/camera_info", info(0, f)) for side, f in (("left", 0), ("right", 7))]
    messages += [("/left/image_raw", image(0)), ("/right/image_raw", image(1))]
    bag = record(tmp_path / "a.mcap", *messages)
    assert extract(bag, tmp_path / "out") == 1
    assert capsys.readouterr().err == (
        f"km3d extract: {bag}: name the image topic; image topics in this bag: /left/image_raw, "
        "/right/image_raw\n"
    )
    assert extract(bag, tmp_path / "out", "--topic", "/rear") == 1
    assert "no images on /rear; image topics in this bag: /left/" in capsys.readouterr().err
    assert extract(bag, tmp_path / "out", "--topic", "/right/image_raw") == 0
    pixels, projection = written(tmp_path / "out")
    assert difference(pixels, picture(1)) < 3
    assert projection[0, 0] == K[0, 0] + 7


@pytest.mark.parametrize(
    ("most", "taken"), [(1, [0]), (2, [0, 4]), (3, [0, 3, 6]), (5, [0, 2, 4, 5, 7]), (8, range(8))]
)
def test_frames_are_evenly_spread_and_as_many_as_asked_for(tmp_path, capsys, most, taken):
    assert extract(drive(tmp_path / "a.mcap", 8), tmp_path / "out", "--frames", most) == 0
    assert names(tmp_path / "out") == [f"{i:06d}" for i in taken]
    spread = ", evenly spread" if most < 8 else ""
    shown = capsys.readouterr().out
    assert f": {most} of 8 images of /cam/image_raw{spread}; 160x96, " in shown


def test_what_cannot_be_decoded_is_left_out_and_counted(tmp_path, capsys):
    bad = CompressedImage(header=header(1), format="jpeg", data=array("B", b"none"))
    messages = [("camera_info", info(0)), ("image", jpeg(0)), ("image", bad), ("image", jpeg(2))]
    bag = record(tmp_path / "a.mcap", *messages, ("image", bad))
    assert extract(bag, tmp_path / "out") == 0
    assert names(tmp_path / "out") == names(tmp_path / "out", "calib") == ["000000", "000002"]
    shown = capsys.readouterr()
    assert ": 2 of 4 images of image; 160x96, raw, " in shown.out
    left_out = "; left out: 2 images that cannot be decoded (image 1 of image: compressed image"
    assert left_out in shown.out
    assert shown.out.count("\n") == 1
    assert shown.err == ""
    only_bad = record(tmp_path / "b.mcap", messages[0], messages[2])
    assert extract(only_bad, tmp_path / "none") == 1
    assert f"{only_bad}: image 0 of image: compressed image" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_images_of_two_sizes_are_both_named(tmp_path, capsys):
    write_calibration(tmp_path / "camera.txt", P)
    small = image(1)
    small.height, small.data = 90, small.data[: 90 * small.step]
    bag = record(tmp_path / "a.mcap", ("/image_rect", image(0)), ("/image_rect", small))
    assert extract(bag, tmp_path / "out", "--camera", tmp_path / "camera.txt") == 0
    expected = "2 of 2 images of /image_rect; 160x96, rectified; 160x90, rectified\n"
    assert capsys.readouterr().out.endswith(expected)


def test_label_files_beside_the_images_open_as_calibrated_boxes(tmp_path):
    out = tmp_path / "out"
    assert extract(recorded_camera(tmp_path / "a.mcap", count=3), out) == 0
    (out / "label_2").mkdir()
    (out / "label_2" / "000000.txt").write_text(line("Car", 10, 20, 50, 60))
    (out / "label_2" / "000002.txt").write_text(line("Pedestrian", 70, 30, 80, 70))
    frames = open_boxes([out], ("Car", "Pedestrian", "Cyclist"))
    assert [frame.name for frame in frames] == ["000000", "000002"]
    for frame in frames:
        np.testing.assert_allclose(frame.projection, RAW, atol=1e-12)
    assert frames[1].objects[0].box2d == (70, 30, 80, 70)
    assert frames.report[0].startswith(f"{out}: 2 images (2 calibrated), 1 Car, 1 Pedestrian, ")


def test_existing_files_are_not_touched(tmp_path, capsys):
    bag = drive(tmp_path / "a.mcap")
    (tmp_path / "out" / "image_2").mkdir(parents=True)
    assert extract(bag, tmp_path / "out") == 1
    message = f"{tmp_path / 'out'}: has files, expected a new or empty folder"
    assert capsys.readouterr().err == f"km3d extract: {message}\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["image_2"]
    assert extract(bag, bag) == 1
    assert capsys.readouterr().err == f"km3d extract: {bag}: Not a directory\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert extract(bag, tmp_path / "link") == 0
    assert names(tmp_path / "empty") == ["000000", "000001", "000002"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "x"), 1, "km3d extract: x: No space left on dev"),
    ],
)
def test_interrupted_extraction_leaves_nothing(
    tmp_path, monkeypatch, capsys, error, code, message
):
    bag = drive(tmp_path / "a.mcap")
    (tmp_path / ".out.part" / "image_2").mkdir(parents=True)
    (tmp_path / ".out.part" / "image_2" / "9.jpg").touch()

    def stop(path, projection):
        if path.stem == "000001":
            raise error
        write_calibration(path, projection)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "write_calibration", stop)
        assert extract(bag, tmp_path / "out") == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err[: len(message)]) == ("", message)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]
    assert extract(bag, tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["000000", "000001", "000002"]


@pytest.mark.parametrize("missing", ["a.mcap", "camera.yaml"])
def test_file_that_is_missing_is_named(tmp_path, capsys, missing):
    drive(tmp_path / "a.mcap")
    ros_calibration(tmp_path / "camera.yaml")
    (tmp_path / missing).unlink()
    options = ("--camera", tmp_path / "camera.yaml")
    assert extract(tmp_path / "a.mcap", tmp_path / "out", *options) == 1
    message = f"km3d extract: {tmp_path / missing}: no such file or folder\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("content", [b"", b"no\nbag\n" * 99, None])
@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.txt", "a"])
def test_what_is_no_bag_is_one_line(tmp_path, capsys, name, content):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert extract(path, tmp_path / "out") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"km3d extract: {path} is not a readable bag: ")
    assert not (tmp_path / "out").exists()


def test_bag_that_lacks_what_its_metadata_promise_is_named(tmp_path, capsys):
    bag = drive(tmp_path / "a", storage="sqlite3")
    with sqlite3.connect(next(bag.glob("*.db3"))) as database:
        database.execute("DELETE FROM messages")
    write_calibration(tmp_path / "camera.txt", P)
    assert extract(bag, tmp_path / "out", "--camera", tmp_path / "camera.txt") == 1
    assert capsys.readouterr().err == f"km3d extract: {bag}: no images on /cam/image_raw\n"


def test_bag_without_a_camera_needs_a_file(tmp_path, capsys):
    bag = record(tmp_path / "a.mcap", ("/cam/image_raw", image(0)))
    assert extract(bag, tmp_path / "out") == 1
    message = "no CameraInfo for /cam/image_raw in this bag: a camera file is needed"
    assert capsys.readouterr().err == f"km3d extract: {bag}: {message}\n"


def test_missing_library_is_named(tmp_path, capsys, monkeypatch):
    bag = drive(tmp_path / "a.mcap")
    monkeypatch.delitem(sys.modules, "km3d_ros.data.bag_images")
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    assert extract(bag, tmp_path / "out") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("km3d extract: bags need rosbags (")
    assert error.endswith(f"): {pip_install('rosbags')}")


@pytest.mark.parametrize(
    "arguments", [["a.mcap"], ["--out", "b"], ["a.mcap", "--out", "b", "--frames", "0"]]
)
def test_wrong_usage_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["extract", *arguments])
    assert stop.value.code == 2
    assert "usage: km3d extract" in capsys.readouterr().err


def test_bits_in_use_are_decided_once_for_a_stream(tmp_path):
    """12-bit images: a dark one after a bright one stays dark."""

    def grey(i, value):
        stored = np.full((HEIGHT, WIDTH), value, "<u2")
        return Image(
            header=header(i),
            height=HEIGHT,
            width=WIDTH,
            encoding="mono16",
            step=2 * WIDTH,
            data=array("B", stored.tobytes()),
        )

    messages = [("/cam/camera_info", info(0))]
    messages += [("/cam/image_raw", grey(i, value)) for i, value in enumerate((4095, 160))]
    bag = record(tmp_path / "a.mcap", *messages)
    assert extract(bag, tmp_path / "out") == 0
    means = [written(tmp_path / "out", name)[0].mean() for name in names(tmp_path / "out")]
    np.testing.assert_allclose(means, [255, 10], atol=1)
