from pathlib import Path

import pytest

from km3d_ros.bag.camera_topics import Camera, choose_cameras
from km3d_ros.errors import InputError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TWO = {"/a/one": IMAGE, "/a/two": IMAGE}


def choose(types, wanted=(), rectified=None):
    return choose_cameras(Path("a.mcap"), types, wanted, rectified, "/km3d")


def test_camera_alone_has_no_name():
    types = {
        "/front/image_rect": IMAGE,
        "/front/camera_info": INFO,
        "/other": "std_msgs/msg/String",
    }
    expected = Camera("/front/image_rect", "/front/camera_info", True, "/km3d")
    assert choose(types) == [expected]
    assert choose({"image": IMAGE, "camera_info": INFO})[0].infos == "camera_info"


def test_cameras_are_named_by_their_namespaces():
    names = {
        ("/front", "/rear"): ["front", "rear"],
        ("/rig/front", "/rig/rear"): ["front", "rear"],
        ("/a/color", "/b/color"): ["a_color", "b_color"],
    }
    for spaces, expected in names.items():
        types = {f"{space}/image_raw": IMAGE for space in spaces}
        types |= {f"{space}/camera_info": INFO for space in spaces}
        assert [camera.results for camera in choose(types)] == [f"/km3d/{n}" for n in expected]


def test_only_images_with_a_camera_info_beside_them_are_taken():
    types = {"/front/image_raw": IMAGE, "/front/camera_info": INFO, "/map/image": IMAGE}
    assert [camera.images for camera in choose(types)] == ["/front/image_raw"]


def test_images_without_compression_are_preferred():
    types = {"/front/image_raw/compressed": COMPRESSED, "/front/camera_info": INFO}
    assert choose(types)[0].images == "/front/image_raw/compressed"
    assert choose(types | {"/front/image_raw": IMAGE})[0].images == "/front/image_raw"


def test_only_camera_info_serves_the_only_image_topic_wherever_it_is():
    types = {"/video": IMAGE, "/calibration/front": INFO}
    assert choose(types)[0].infos == "/calibration/front"
    assert choose(types | {"/film": IMAGE}, ["/video"])[0].infos == "/calibration/front"


@pytest.mark.parametrize(("rectified", "expected"), [(None, True), (True, True), (False, False)])
def test_name_says_whether_images_are_rectified_unless_the_user_does(rectified, expected):
    types = {"/front/image_rect": IMAGE, "/front/camera_info": INFO}
    assert choose(types, rectified=rectified)[0].rectified is expected


@pytest.mark.parametrize(
    ("types", "wanted", "message"),
    [
        ({}, [], "image topics in this bag: none"),
        ({"/a": IMAGE, "/b": IMAGE}, [], "no images with a CameraInfo .* in this bag: /a, /b"),
        ({"/a": IMAGE}, ["/b"], "no images on /b; image topics in this bag: /a"),
        ({"/a": IMAGE}, ["/a"], "no CameraInfo beside /a; .* in this bag: none"),
        (
            {"/a/i": IMAGE, "/b/i": IMAGE, "/c": INFO},
            ["/a/i", "/b/i"],
            "no CameraInfo beside /a/i",
        ),
        (
            {"/a/i": IMAGE, "/a/j": IMAGE, "/a/camera_info": INFO},
            ["/a/i", "/a/j"],
            "of one camera",
        ),
    ],
)
def test_choices_that_make_no_sense_are_named(types, wanted, message):
    with pytest.raises(InputError, match=rf"a\.mcap: .*{message}"):
        choose(types, wanted)
