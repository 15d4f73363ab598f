"""The tracker: objects with ids and velocities from the detections of one or several cameras.

ros2 launch km3d_ros km3d_tracker.launch.py odometry:=/odometry/filtered
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="of the node"),
    DeclareLaunchArgument(
        "inputs",
        default_value="",
        description="topics of the detections, as /km3d/front/detections,/km3d/left/detections; "
        "empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "odometry", default_value="odometry", description="topic of the vehicle's odometry"
    ),
    DeclareLaunchArgument(
        "base_frame",
        default_value="",
        description="frame of the vehicle, in which the sensors are mounted; "
        "empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        description="whether the node configures and activates itself, or waits for lifecycle "
        "transitions; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution(
            [FindPackageShare("km3d_ros"), "config", "km3d_tracker.yaml"]
        ),
        description="parameters of the node",
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="time from /clock, for bags"
    ),
    DeclareLaunchArgument(
        "log_level", default_value="info", description="debug, info, warn, error or fatal"
    ),
]


def params_file(context: LaunchContext) -> str:
    path = LaunchConfiguration("params_file").perform(context)
    if not Path(path).is_file():  # launch_ros would start the node without it
        raise ValueError(f"params_file is {path!r}: no such file")
    return path


def tracker(context: LaunchContext) -> list[LifecycleNode]:
    inputs, base_frame, autostart = (
        LaunchConfiguration(name).perform(context)
        for name in ("inputs", "base_frame", "autostart")
    )
    # An empty argument does not override the parameter file.
    parameters = {}
    if topics := inputs.strip("[]").replace(",", " ").split():
        parameters["inputs"] = topics
    if base_frame:
        parameters["base_frame"] = base_frame
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
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=tracker)])
