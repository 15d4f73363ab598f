"""The executable km3d_node, also `python -m km3d_ros.node`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

SIGNALS = (signal.SIGINT, signal.SIGTERM)

HELP = """\
Usage: ros2 run km3d_ros km3d_node [--ros-args ROS_ARGUMENTS]

Detects 3D boxes in the images of one or several cameras.

Example:
  ros2 run km3d_ros km3d_node --ros-args -r image:=/camera/image_rect \\
      -r camera_info:=/camera/camera_info -p score_threshold:=0.3

Subscribes to:
  image                  sensor_msgs/Image
  image/compressed       sensor_msgs/CompressedImage, with image_transport:=compressed
  camera_info            sensor_msgs/CameraInfo
Publishes:
  ~/detections           vision_msgs/Detection3DArray
  ~/objects              km3d_ros/KeypointDetectionArray
  ~/markers              visualization_msgs/MarkerArray
  ~/image_annotated      sensor_msgs/Image
  ~/bev                  sensor_msgs/Image, the scene from above
  ~/timing               km3d_ros/FrameTiming
  /diagnostics           diagnostic_msgs/DiagnosticArray
With cameras:=[NAME, ...] the topics are NAME/image, NAME/camera_info, ~/NAME/detections, ...

Parameters (-p NAME:=VALUE, or --params-file FILE) and their defaults:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until a signal or an error stops it.

    Args:
        arguments: of the command line, with the program's name; None: sys.argv.

    Returns:
        The exit code: 0, 1 after an error, 2 after wrong arguments.
    """
    # Until rclpy handles signals: imports take seconds, and nothing is open that must be closed.
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    arguments = sys.argv if arguments is None else arguments
    import rclpy
    from rclpy.utilities import remove_ros_args

    try:
        others = remove_ros_args(arguments)[1:]
    except Exception as error:  # rclpy has no public class for it
        return _print_error(str(error))
    if {"-h", "--help"} & set(others):
        print(HELP + _parameter_help())
        return 0
    if others:
        return _print_error(
            f"unknown arguments: {' '.join(others)}; arguments of ROS follow --ros-args, as in: "
            "km3d_node --ros-args --params-file FILE"
        )
    from km3d_ros.node import detector_node  # imports PyTorch

    # rclpy calls earlier handlers, too, so ours must go first. Signals in between are delayed.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    rclpy.init(args=arguments)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return detector_node.run()


def _print_error(reason: str) -> int:
    print(f"km3d_node: {reason}", file=sys.stderr)
    return 2


def _parameter_help() -> str:
    from km3d_ros.node.parameters import PARAMETERS

    return "\n".join(
        f"  {rule.name} ({rule.default!r})\n      {rule.description}" for rule in PARAMETERS
    )


if __name__ == "__main__":
    sys.exit(main())
