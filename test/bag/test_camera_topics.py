from pathlib import Path

import pytest

from km3d_ros.bag.camera_topics import Camera, Wanted, choose_cameras
from km3d_ros.errors import InputError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TWO = {"/a/one": IMAGE, "/a/two": IMAGE}


def choose(types, wanted=(), rectified=None, encodings=None, **choices):
    choices = Wanted(wanted, rectified=rectified, **choices)
    return choose_cameras(Path("a.mcap"), types, encodings or {}, choices)


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


@pytest.mark.parametrize(
    ("depth", "encoding"),
    [
        ("/camera/depth/image_rect_raw", "16UC1"),
        ("/camera/aligned_depth_to_color/image_raw", ""),
        ("/camera/stereo/image_raw", "16UC1"),
        ("/camera/stereo/image_raw", "32FC1"),
        ("/camera/stereo/image_raw/compressedDepth", "16UC1; compressedDepth png"),
    ],
)
def test_depth_images_are_no_camera_unless_they_are_asked_for(depth, encoding):
    color, info = "/camera/color/image_raw", depth.removesuffix("/compressedDepth")
    info = info.rpartition("/")[0] + "/camera_info"
    types = {depth: IMAGE, info: INFO, color: IMAGE, "/camera/color/camera_info": INFO}
    encodings = {depth: encoding, color: "rgb8"}
    (camera,) = choose(types, encodings=encodings)
    assert (camera.images, camera.results) == (color, "/km3d")
    assert choose(types, [depth], encodings=encodings)[0].images == depth
    with pytest.raises(InputError, match=rf"beside them \({depth}: depths\); image topics"):
        choose({depth: IMAGE, info: INFO}, encodings=encodings)


def test_camera_info_elsewhere_serves_where_it_is_named():
    types = {"/front/image_raw": IMAGE, "/front/camera_info": INFO, "/calibrated": INFO}
    assert choose(types, infos="/calibrated")[0].infos == "/calibrated"
    types |= {"/rear/image_raw": IMAGE, "/rear/camera_info": INFO}
    with pytest.raises(InputError, match=r"--camera-info is for one camera, .* /rear/image_raw"):
        choose(types, infos="/calibrated")
    chosen = choose(types, ["/rear/image_raw"], infos="/calibrated")
    assert [camera.infos for camera in chosen] == ["/calibrated"]
    with pytest.raises(InputError, match=r"no CameraInfo on /other; .* /calibrated, /front"):
        choose(types, ["/rear/image_raw"], infos="/other")


@pytest.mark.parametrize(
    ("file", "topic", "rectified", "expected"),
    [
        ("c.yaml", "/image_raw", None, False),
        ("c.yaml", "/image_rect", None, True),
        ("c.yaml", "/image_raw", True, True),
        ("c.txt", "/image_raw", None, True),
    ],
)
def test_camera_file_serves_images_without_camera_info(file, topic, rectified, expected):
    (camera,) = choose({topic: IMAGE}, rectified=rectified, calibration=Path(file))
    assert (camera.infos, camera.rectified) == (file, expected)


def test_kitti_calibration_is_not_for_raw_images():
    with pytest.raises(InputError, match=r"c\.txt: a KITTI calibration is of rectified images"):
        choose({"/i": IMAGE}, rectified=False, calibration=Path("c.txt"))


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
        ({"/a": IMAGE}, ["/a"], "no CameraInfo beside /a; .*: none; --camera takes a calib"),
        (
            {"/v": "foxglove_msgs/msg/CompressedVideo"},
            [],
            r"image topics in this bag: none; not readable: /v .*CompressedVideo: video; play",
        ),
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
