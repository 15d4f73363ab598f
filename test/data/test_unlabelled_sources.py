import runpy
import sqlite3
import sys
from array import array
from collections import Counter

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage
from support.camera_bags import drive, header, image, info, jpeg, record
from support.cameras import HEIGHT, RAW, WIDTH, K, P, difference, picture, ros_calibration
from tf2_msgs.msg import TFMessage

from km3d_ros.data import bag_images
from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.image_file import read_image
from km3d_ros.data.level_view import level_view
from km3d_ros.data.unlabelled import open_unlabelled
from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.geometry.level import level_from_angles


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "storage"), [("a.mcap", "mcap"), ("a", "mcap"), ("a", "sqlite3")]
)
def test_bag_becomes_frames_with_the_camera_of_its_camera_info(tmp_path, cache, name, storage):
    frames = open_unlabelled(drive(tmp_path / name, storage=storage), None, cache)
    assert [frame.name for frame in frames] == ["000000", "000001", "000002"]
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.projection, RAW, atol=1e-12)
        assert difference(read_image(frame.image_path), picture(i)) < 3


def test_bag_is_extracted_once(tmp_path, cache, monkeypatch):
    bag = drive(tmp_path / "a.mcap")
    first = open_unlabelled(bag, None, cache)
    monkeypatch.setattr(bag_images, "BagFrames", None)
    again = open_unlabelled(bag, None, cache)
    paths = [frame.image_path for frame in first]
    assert [frame.image_path for frame in again] == paths


def test_another_bag_of_the_same_name_is_extracted_again(tmp_path, cache):
    assert len(open_unlabelled(drive(tmp_path / "a.mcap", 3), None, cache)) == 3
    assert len(open_unlabelled(drive(tmp_path / "a.mcap", 2), None, cache)) == 2


def test_topic_and_camera_file_are_those_of_the_bag(tmp_path, cache, capsys):
    bad = CompressedImage(header=header(1), format="jpeg", data=array("B", b"none"))
    messages = [("a", image(0)), ("b", jpeg(0)), ("b", bad), ("b", jpeg(2))]
    bag = record(tmp_path / "a.mcap", *messages)
    write_calibration(tmp_path / "camera.txt", P)
    frames = open_unlabelled(bag, tmp_path / "camera.txt", cache, topic="b")
    assert [frame.name for frame in frames] == ["000000", "000002"]
    np.testing.assert_allclose(frames[1].projection, P, atol=1e-12)
    error = capsys.readouterr().err
    assert error.startswith(f"{bag}: image 1 of b: compressed image")
    assert error.endswith(" (1 like this are left out)\n")


@pytest.mark.parametrize("topics", [("camera_info", "image"), ("image", "camera_info")])
def test_every_image_has_the_camera_info_of_its_stamp(tmp_path, cache, topics):
    messages = [
        (topic, image(i) if topic == "image" else info(i, 10.0 * i))
        for i in range(3)
        for topic in topics
    ]
    frames = open_unlabelled(record(tmp_path / "a.mcap", *messages), None, cache)
    assert [frame.projection[0, 0] for frame in frames] == [110, 120, 130]


def test_long_bags_are_thinned_evenly(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(bag_images, "MAX_FRAMES", 3)
    frames = open_unlabelled(drive(tmp_path / "a.mcap", 8), None, cache)
    assert [frame.name for frame in frames] == ["000000", "000003", "000006"]


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (CameraInfo(width=WIDTH, height=HEIGHT), "focal lengths must be positive"),
        (info(0, width=640), "160x96 pixels, but its CameraInfo is for 640x96"),
        (info(0, model="fov", lens=[1.0]), "unknown distortion model 'fov'"),
    ],
)
def test_camera_info_that_cannot_be_used_is_named(tmp_path, cache, camera, message):
    bag = record(tmp_path / "a.mcap", ("camera_info", camera), ("image", image(0)))
    with pytest.raises(InputError, match=rf"a\.mcap: image 0 of image: .*{message}"):
        open_unlabelled(bag, None, cache)


def test_bag_without_message_definitions_is_read(tmp_path, cache):
    bag = drive(tmp_path / "a", storage="sqlite3")
    with sqlite3.connect(next(bag.glob("*.db3"))) as database:
        database.execute("DELETE FROM message_definitions")
    assert len(open_unlabelled(bag, None, cache)) == 3


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_broken_bag_is_named_and_nothing_is_kept(tmp_path, cache, storage, part):
    bag = drive(tmp_path / "a", storage=storage)
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=r"/a is not a readable bag"):
        open_unlabelled(bag, None, cache)
    assert Counter(path.suffix for path in cache.iterdir()) == {".lock": 1}


def test_kitti_folder_and_folder_of_images_are_told_apart(tmp_path, cache):
    for folder in ("image_2", "calib"):
        (tmp_path / "kitti" / "training" / folder).mkdir(parents=True)
    picture_path = tmp_path / "kitti" / "training" / "image_2" / "000000.png"
    cv2.imwrite(str(picture_path), picture())
    camera = tmp_path / "kitti" / "training" / "calib" / "000000.txt"
    write_calibration(camera, P)
    (frame,) = open_unlabelled(tmp_path / "kitti", None, cache)
    assert frame.image_path == picture_path
    (frame,) = open_unlabelled(picture_path.parent, camera, cache)
    assert frame.image_path == picture_path
    with pytest.raises(InputError, match=r"image_2: a folder of images needs a camera file"):
        open_unlabelled(picture_path.parent, None, cache)


def test_folders_need_no_library_for_bags(tmp_path, cache, monkeypatch):
    monkeypatch.delitem(sys.modules, "km3d_ros.data.bag_images")
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    cv2.imwrite(str(tmp_path / "0.png"), picture())
    write_calibration(tmp_path / "camera.txt", P)
    names = runpy.run_module("km3d_ros.data.unlabelled")
    assert len(names["open_unlabelled"](tmp_path, tmp_path / "camera.txt", cache)) == 1


def test_what_is_not_there_or_nothing_is_named(tmp_path, cache):
    camera = ros_calibration(tmp_path / "camera.yaml")
    for path, calibration in ((tmp_path / "no.mcap", None), (tmp_path, tmp_path / "no.yaml")):
        with pytest.raises(InputError, match=r"/no\.\w+: no such file or folder"):
            open_unlabelled(path, calibration, cache)
    with pytest.raises(InputError, match=r"camera\.yaml: neither a folder of images nor a bag"):
        open_unlabelled(camera, None, cache)
    with pytest.raises(InputError, match="no images in it"):
        open_unlabelled(tmp_path, camera, cache)


def static(parent, child, x, y, z, w):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return "/tf_static", TFMessage(transforms=[transform])


MOUNT = (
    static("base_link", "mast", 0.0, np.sin(0.05), 0.0, np.cos(0.05)),  # 0.1 rad down
    static("mast", "front", -0.5, 0.5, -0.5, 0.5),
)


def test_static_transforms_of_a_bag_turn_its_images_to_the_horizon(tmp_path, cache):
    messages = [("/cam/camera_info", info(0)), ("/cam/image_raw", image(0))]
    # After the images: what is static counts for the whole recording.
    bag = record(tmp_path / "a.mcap", *messages, *MOUNT)
    (frame,) = open_unlabelled(bag, None, cache, mounting=Mounting("base_link"))
    (fixed,) = open_unlabelled(bag, None, cache, mounting=Mounting(pitch=0.1))
    (level,) = open_unlabelled(bag, None, cache)
    np.testing.assert_allclose(frame.projection, fixed.projection, atol=1e-9)
    assert difference(read_image(frame.image_path), read_image(fixed.image_path)) < 0.1
    middle = (HEIGHT - 1) / 2
    horizon = middle - np.tan(0.1 + np.arctan((middle - K[1, 2]) / K[1, 1])) * K[1, 1]
    assert frame.projection[1, 2] == pytest.approx(horizon)
    assert difference(read_image(level.image_path), picture(0)) < 3
    with pytest.raises(InputError, match="no static transform from base to front; frames with"):
        open_unlabelled(bag, None, cache, mounting=Mounting("base", required=True))


def test_mount_of_a_kitti_folder_turns_its_images(tmp_path, cache):
    for name in ("image_2", "calib"):
        (tmp_path / "kitti" / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "kitti/image_2/000000.png"), picture())
    write_calibration(tmp_path / "kitti/calib/000000.txt", P)
    (frame,) = open_unlabelled(tmp_path / "kitti", None, cache, mounting=Mounting(pitch=0.1))
    assert frame.projection[1, 2] < P[1, 2] - 5
    turned, _ = level_view(frame)
    homography = frame.projection[:, :3] @ level_from_angles(0.1, 0.0) @ np.linalg.inv(P[:, :3])
    expected = cv2.warpPerspective(picture(), homography, (WIDTH, HEIGHT))
    assert difference(turned[10:-10, 10:-10], expected[10:-10, 10:-10]) < 2
    assert not cache.exists()
    with pytest.raises(InputError, match="base frame base_link needs the transforms of a bag"):
        open_unlabelled(tmp_path / "kitti", None, cache, mounting=Mounting("base_link"))
