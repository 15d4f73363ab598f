"""A camera driver in a process of its own."""

import time

import rclpy
from sensor_msgs.msg import CameraInfo, Image
from support import malformed

PERIOD = 0.03


def play() -> None:
    """Publish good frames until somebody kills this process."""
    rclpy.init()
    node = rclpy.create_node("camera")
    image, info = malformed.good_image(), malformed.good_info()
    infos = node.create_publisher(CameraInfo, "camera_info", 10)
    images = node.create_publisher(Image, "image", 10)
    while True:
        image.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(image)
        time.sleep(PERIOD)
