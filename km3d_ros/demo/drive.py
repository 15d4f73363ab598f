"""The drive as a bag, as a camera would have recorded it."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from km3d_ros.bag import BagWriter
from km3d_ros.data.kitti import KittiObject
from km3d_ros.demo.topics import CAMERA_INFO, IMAGE
from km3d_ros.town import drive

FRAME_ID = "camera"
RATE = 10.0  # Hz
START = 1_700_000_000 * 10**9  # ns, the stamp of the first image


def record_drive(
    path: Path, frames: int, seed: int, rate: float = RATE
) -> dict[int, list[KittiObject]]:
    """Render a drive through Town, `rate` frames a second, as images and CameraInfo in a bag.

    Returns:
        The true objects by the stamp of the image, in nanoseconds.
    """
    truth = {}
    with BagWriter(path) as writer:
        steps = tqdm(
            drive(seed, frames, rate), "Rendering", frames, unit="frame", leave=False, disable=None
        )
        for number, frame in enumerate(steps):
            stamp = START + round(number / rate * 1e9)
            header = Header(frame_id=FRAME_ID)
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            height, width = frame.image.shape[:2]
            writer.write(CAMERA_INFO, camera_info(header, frame.projection, width, height), stamp)
            writer.write(IMAGE, image(header, frame.image), stamp)
            truth[stamp] = frame.objects
    return truth


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
