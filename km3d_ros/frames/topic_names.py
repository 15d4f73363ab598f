"""The meaning of names and types of image topics (image_transport, image_proc, REP 118)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_TRANSPORT = re.compile(r"/(compressed|compressedDepth|theora|ffmpeg)$")
_RECTIFIED = re.compile(r"[/_]rect")
_DEPTH = re.compile(r"[/_](depth|disparity)|Depth$")

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

_DECODE = (
    "video; play the bag, decode it with `ros2 run image_transport republish` or the tool that "
    "recorded it, and record the images"
)
_OTHER_IMAGES = {
    r"Video$|FFMPEGPacket$|[hH]26[45]|^theora": _DECODE,
    r"^foxglove.*Image$": "Foxglove's type; convert it to sensor_msgs/msg/Image",
    r"^sensor_msgs/(Compressed)?Image$": "ROS 1 in an MCAP file; give the .bag file itself, or "
    "convert it with `rosbags-convert --src in.bag --dst out`",
}
"""Types of images that are not read, and what to do."""


def is_rectified(topic: str) -> bool:
    """Whether an image topic is named like image_rect; all others are taken as raw."""
    return bool(_RECTIFIED.search(f"/{topic}"))


def is_depth(topic: str) -> bool:
    """Whether a topic is named like one of depth or disparity images.

    >>> is_depth("/camera/aligned_depth_to_color/image_raw")
    True
    """
    return bool(_DEPTH.search(f"/{topic}"))


def namespace_of(topic: str) -> str:
    """That of an image topic: /front of /front/image_raw and of /front/image_raw/compressed."""
    return _TRANSPORT.sub("", topic).rpartition("/")[0]


def camera_info_beside(topic: str, candidates: Collection[str]) -> str | None:
    """The one of the CameraInfo topics that is in the namespace of an image topic, if any."""
    beside = f"{namespace_of(topic)}/camera_info".lstrip("/")
    return next((name for name in candidates if name.lstrip("/") == beside), None)


def not_readable(types: Mapping[str, str]) -> str:
    """The topics, of `types` by name, with images of other types, and what to do; "" if none."""
    found = [
        f"{topic} ({kind}: {advice})"
        for topic, kind in sorted(types.items())
        for pattern, advice in _OTHER_IMAGES.items()
        if kind not in IMAGE_TYPES and re.search(pattern, kind)
    ]
    return f"; not readable: {', '.join(found)}" if found else ""
