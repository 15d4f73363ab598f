from pathlib import Path

import pytest
from rclpy.serialization import serialize_message
from support.drives import PERIOD, START, camera_info, image

from km3d_ros.bag.cameras import Camera, CameraInfos, choose_cameras
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


def infos(*entries):
    """Of (number of the stamp, frame_id, focal length), recorded when they were stamped."""
    return CameraInfos(
        (START + i * PERIOD, serialize_message(camera_info(i, frame, focal)))
        for i, frame, focal in entries
    )


def test_image_gets_the_camera_info_of_its_stamp_else_the_newest_of_its_frame():
    known = infos((1, "camera", 10.0), (4, "camera", 40.0), (2, "other", 20.0))
    cases = {
        (1, "camera"): (10.0, True),
        (2, "camera"): (20.0, True),  # the stamp decides, as in the node
        (3, "camera"): (10.0, False),
        (5, "camera"): (40.0, False),
        (0, "camera"): (10.0, False),  # none had been recorded: the first one
        (5, "other"): (20.0, False),
    }
    for (i, frame), (focal, exact) in cases.items():
        found, same_stamp = known.find(image(i, frame), START + i * PERIOD)
        assert (found.k[0], same_stamp) == (focal, exact)
    assert known.find(image(5, "unknown"), START) == (None, False)


def test_camera_info_that_cannot_be_deserialised_is_left_out():
    known = CameraInfos([(START, b"\0\1\0\0"), (START, serialize_message(camera_info(0)))])
    assert known.find(image(5), START)[0].k[0] == 90.0
