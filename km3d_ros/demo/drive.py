"""A drive through Town as the messages of a camera."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo.topics import BASE_FRAME, FRAME_ID
from km3d_ros.node.messages import image_message
from km3d_ros.town import drive
from km3d_ros.town.scene import View

RATE = 10.0  # Hz
START = 1_700_000_000 * 10**9  # ns, the stamp of the first image


class CameraFrame(NamedTuple):
    """One frame of the drive; stamp in nanoseconds, objects: the truth."""

    stamp: int
    info: CameraInfo
    image: Image
    odometry: Odometry
    objects: list[KittiObject]


def render_drive(frames: int, seed: int, rate: float = RATE) -> Iterator[CameraFrame]:
    """Render a drive through Town, `rate` frames a second, as a camera would publish it."""
    steps = drive(seed, frames, rate)
    steps = tqdm(steps, "Rendering", frames, unit="frame", leave=False, disable=None)
    for number, frame in enumerate(steps):
        stamp = START + round(number / rate * 1e9)
        header = Header(frame_id=FRAME_ID)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        height, width = frame.image.shape[:2]
        info = camera_info(header, frame.projection, width, height)
        picture, moved = image_message(frame.image, header), odometry(header, frame.scene.view)
        yield CameraFrame(stamp, info, picture, moved, frame.objects)


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


def odometry(header: Header, view: View) -> Odometry:
    """The pose of the vehicle, with the stamp of the header."""
    x, y, z, heading = view.place
    message = Odometry(child_frame_id=BASE_FRAME)
    message.header.stamp, message.header.frame_id = header.stamp, "odom"
    message.pose.pose = Pose(
        position=Point(x=x, y=y, z=z),
        orientation=Quaternion(z=math.sin(heading / 2), w=math.cos(heading / 2)),
    )
    return message
