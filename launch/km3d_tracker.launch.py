"""The tracker: objects with ids and velocities from the detections of one or several cameras.

ros2 launch km3d_ros km3d_tracker.launch.py odometry:=/odometry/filtered
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "of the node"),
    "inputs": (
        "",
        "topics of the detections, as /km3d/front/detections,/km3d/left/detections; empty: as in "
        "params_file",
    ),
    "odometry": ("odometry", "topic of the vehicle's odometry"),
    "base_frame": (
        "",
        "frame of the vehicle, in which the sensors are mounted; empty: as in params_file",
    ),
    "ground_frame": (
        "",
        "frame whose xy plane is the ground; empty: as in params_file",
    ),
    "autostart": (
        "",
        "whether the node configures and activates itself, or waits for lifecycle transitions; "
        "empty: as in params_file",
    ),
    "params_file": (
        PathJoinSubstitution([FindPackageShare("km3d_ros"), "config", "km3d_tracker.yaml"]),
        "parameters of the node",
    ),
    "use_sim_time": ("false", "time from /clock, for bags"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}
"""Defaults and descriptions."""


def params_file(context: LaunchContext) -> str:
    path = LaunchConfiguration("params_file").perform(context)
    if not Path(path).is_file():  # launch_ros would start the node without it
        raise ValueError(f"params_file is {path!r}: no such file")
    return path


def tracker(context: LaunchContext) -> list[LifecycleNode]:
    inputs, base_frame, ground_frame, autostart = (
        LaunchConfiguration(name).perform(context)
        for name in ("inputs", "base_frame", "ground_frame", "autostart")
    )
    # An empty argument does not override the parameter file.
    parameters = {}
    if topics := inputs.strip("[]").replace(",", " ").split():
        parameters["inputs"] = topics
    if base_frame:
        parameters["base_frame"] = base_frame
    if ground_frame:
        parameters["ground_frame"] = ground_frame
    if autostart:
        parameters["autostart"] = LaunchConfiguration("autostart")
    return [
        LifecycleNode(
            package="km3d_ros",
            executable="km3d_tracker",
            name="km3d_tracker",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                params_file(context),
                parameters,
                {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            remappings=[("odometry", LaunchConfiguration("odometry"))],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=tracker)])
