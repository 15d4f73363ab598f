import pytest

from km3d_ros.frames.topic_names import (
    camera_info_beside,
    is_depth,
    is_rectified,
    namespace_of,
    not_readable,
)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("/camera/infra1/image_rect_raw", True),
        ("rect/image", True),
        ("/camera/image_raw", False),
        ("/camera/image_color", False),
        ("/camera/direct/image", False),
    ],
)
def test_rectified_images_are_named_like_image_rect(topic, rectified):
    assert is_rectified(topic) is rectified


@pytest.mark.parametrize(
    ("topic", "depth"),
    [
        ("/camera/depth/image_rect_raw", True),
        ("/camera/aligned_depth_to_color/image_raw", True),
        ("/camera/color/image_raw/compressedDepth", True),
        ("/stereo/disparity", True),
        ("/zed/depth_registered", True),
        ("/camera/color/image_raw", False),
        ("/camera/infra1/image_rect_raw", False),
    ],
)
def test_depth_images_are_known_by_their_names(topic, depth):
    assert is_depth(topic) is depth


@pytest.mark.parametrize("transport", ["", "/compressed", "/compressedDepth", "/theora"])
def test_camera_info_is_beside_the_image_whatever_its_transport(transport):
    topic = f"/front/image_raw{transport}"
    assert namespace_of(topic) == "/front"
    known = ["/rear/camera_info", "/front/camera_info"]
    assert camera_info_beside(topic, known) == "/front/camera_info"
    assert camera_info_beside(topic, ["front/camera_info"]) == "front/camera_info"
    assert camera_info_beside(topic, ["/camera_info"]) is None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("foxglove_msgs/msg/CompressedVideo", "video; play the bag, decode it"),
        ("ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "video; play the bag, decode it"),
        ("theora_image_transport/msg/Packet", "video; play the bag, decode it"),
        ("foxglove.CompressedImage", "Foxglove's type; convert it to sensor_msgs/msg/Image"),
        ("foxglove_msgs/msg/RawImage", "Foxglove's type; convert it to sensor_msgs/msg/Image"),
        ("sensor_msgs/Image", "ROS 1 in an MCAP file; give the .bag file itself"),
    ],
)
def test_images_that_are_not_read_are_named_with_what_to_do(kind, words):
    known = {"/chatter": "std_msgs/msg/String", "/cam": "sensor_msgs/msg/Image"}
    said = not_readable({"/x": kind} | known)
    assert said.startswith(f"; not readable: /x ({kind}: {words}")
    assert "/cam" not in said
    assert not_readable(known) == ""
