"""The executable km3d_node, also `python -m km3d_ros.node`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

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
    """Run the node until a signal or an error stops it; arguments and exit code as of `start`."""
    return start("km3d_node", HELP, "parameters", "detector_node", arguments)


def start(
    program: str, text: str, parameters: str, node: str, arguments: Sequence[str] | None
) -> int:
    """Run a program that is one node.

    program: its name.
    text: help, to which the parameters are added.
    parameters: module of this package with the table PARAMETERS.
    node: module of this package with the function `run`.
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
        return _print_error(program, str(error))
    if {"-h", "--help"} & set(others):
        print(text.rstrip())
        for rule in import_module(f"km3d_ros.node.{parameters}").PARAMETERS:
            print(f"  {rule.name} ({rule.default!r})\n      {rule.description}")
        return 0
    if others:
        return _print_error(
            program,
            f"unknown arguments: {' '.join(others)}; arguments of ROS follow --ros-args, as in: "
            f"{program} --ros-args --params-file FILE",
        )
    # The detector imports PyTorch.
    module = import_module(f"km3d_ros.node.{node}")

    # rclpy calls earlier handlers, too, so ours must go first. Signals in between are delayed.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    rclpy.init(args=arguments)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return module.run()


def _print_error(program: str, reason: str) -> int:
    print(f"{program}: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
