"""A camera that drives through Town: `python -m km3d_ros.demo.town_camera`.

It renders a drive and then publishes it, once detector and tracker subscribe: `image`,
`camera_info`, `odometry`, and the same motion on `/tf` for RViz.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from km3d_ros.cli._types import whole
from km3d_ros.demo.drive import render_drive
from km3d_ros.demo.publishing import publish

TRANSFORMS = "/tf"
TYPES = {
    TRANSFORMS: TFMessage,
    "odometry": Odometry,
    "camera_info": CameraInfo,
    "image": Image,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the camera; `argv` begins with the program. Returns the exit code."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m km3d_ros.demo.town_camera",
        description="Render a drive and publish it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--frames", type=whole(1), default=200, help="length of the drive, at 10 Hz"
    )
    parser.add_argument("--seed", type=whole(0), default=7, help="of the drive")
    args = parser.parse_args(remove_ros_args(argv)[1:])
    try:
        # Rendered before: it is slower than the camera's rate.
        messages = [
            (topic, message, frame.stamp)
            for frame in render_drive(args.frames, args.seed)
            for topic, message in zip(
                TYPES,
                (transform(frame.odometry), frame.odometry, frame.info, frame.image),
                strict=True,
            )
        ]
        rclpy.init(args=argv)
        publish(TYPES, messages, subscribers=1, unawaited=(TRANSFORMS,))
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


def transform(odometry: Odometry) -> TFMessage:
    """The pose of the vehicle as a transform."""
    moved = TransformStamped(header=odometry.header, child_frame_id=odometry.child_frame_id)
    place, moved.transform.rotation = odometry.pose.pose.position, odometry.pose.pose.orientation
    shift = moved.transform.translation
    shift.x, shift.y, shift.z = place.x, place.y, place.z
    return TFMessage(transforms=[moved])


if __name__ == "__main__":
    sys.exit(main())
