"""The executable km3d_tracker."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from km3d_ros.node.__main__ import start

HELP = """\
Usage: ros2 run km3d_ros km3d_tracker [--ros-args ROS_ARGUMENTS]

Tracks the objects in the 3D detections of one or several sensors (docs/tracking.md).

Example:
  ros2 run km3d_ros km3d_tracker --ros-args -r odometry:=/odometry/filtered \\
      -p inputs:="[/km3d/front/detections, /km3d/left/detections]"

Subscribes to:
  the topics of the parameter inputs   vision_msgs/Detection3DArray
  odometry               nav_msgs/Odometry, the motion of the vehicle
  /tf_static             tf2_msgs/TFMessage, where the sensors are mounted
Publishes:
  ~/tracks               vision_msgs/Detection3DArray, with ids
  ~/objects              km3d_ros/TrackedObjectArray, with velocities
  ~/markers              visualization_msgs/MarkerArray
  /diagnostics           diagnostic_msgs/DiagnosticArray

Parameters (-p NAME:=VALUE, or --params-file FILE) and their defaults:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until a signal or an error stops it.

    Args:
        arguments: of the command line, with the program's name; None: sys.argv.

    Returns:
        The exit code: 0, 1 after an error, 2 after wrong arguments.
    """
    return start("km3d_tracker", HELP, "tracker_parameters", "tracker_node", arguments)


if __name__ == "__main__":
    sys.exit(main())
