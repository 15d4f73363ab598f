"""Bags of one small camera: its images, raw or compressed, and CameraInfo."""

from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header
from support.cameras import HEIGHT, WIDTH, K, P, picture

from km3d_ros.bag import BagWriter
from km3d_ros.node.messages import image_message

PERIOD = 100_000_000


def header(i):
    stamp = Header(frame_id="front")
    stamp.stamp.sec, stamp.stamp.nanosec = 1_700_000_000 + i, 5
    return stamp


def image(i):
    return image_message(picture(i), header(i))


def jpeg(i):
    data = cv2.imencode(".jpg", picture(i))[1].tobytes()
    return CompressedImage(header=header(i), format="jpeg", data=array("B", data))


def info(i, focal=0.0, model="plumb_bob", lens=(), width=WIDTH):
    k = (K + np.diag([focal, focal, 0])).flatten()
    p = (P + np.diag([focal, focal, 0]) @ np.eye(3, 4)).flatten()
    return CameraInfo(
        header=header(i), width=width, height=HEIGHT, distortion_model=model, d=lens, k=k, p=p
    )


def record(path, *messages, storage="mcap"):
    """A bag of (topic, message), recorded at the rate of 10 Hz."""
    with BagWriter(path, storage) as writer:
        for i, (topic, message) in enumerate(messages):
            writer.write(topic, message, i * PERIOD)
    return path


def drive(path, count=3, storage="mcap"):
    topics = {"/cam/camera_info": info, "/cam/image_raw": image}
    messages = [(topic, make(i)) for i in range(count) for topic, make in topics.items()]
    return record(path, *messages, storage=storage)
