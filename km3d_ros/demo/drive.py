"""A drive through Town as the messages of a camera."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo.topics import FRAME_ID
from km3d_ros.town import drive

RATE = 10.0  # Hz
START = 1_700_000_000 * 10**9  # ns, the stamp of the first image


class CameraFrame(NamedTuple):
    """One frame of the drive; stamp in nanoseconds, objects: the truth."""

    stamp: int
    info: CameraInfo
    image: Image
    objects: list[KittiObject]


def render_drive(frames: int, seed: int, rate: float = RATE) -> Iterator[CameraFrame]:
    """Render a drive through Town, `rate` frames a second, as a camera would publish it."""
    steps = drive(seed, frames, rate)
    for number, frame in enumerate(
        tqdm(steps, "Rendering", frames, unit="frame", leave=False, disable=None)
    ):
        stamp = START + round(number / rate * 1e9)
        header = Header(frame_id=FRAME_ID)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        height, width = frame.image.shape[:2]
        info = camera_info(header, frame.projection, width, height)
        yield CameraFrame(stamp, info, image(header, frame.image), frame.objects)


def camera_info(header: Header, projection: np.ndarray, width: int, height: int) -> CameraInfo:
    """The CameraInfo of a rectified image with this (3, 4) projection."""
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=projection[:, :3].flatten(),
        r=np.eye(3).flatten(),
        p=projection.flatten(),
    )


def image(header: Header, pixels: np.ndarray) -> Image:
    """A bgr8 Image of pixels (height, width, 3) uint8."""
    height, width = pixels.shape[:2]
    data = array("B", pixels.tobytes())
    return Image(
        header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data
    )
