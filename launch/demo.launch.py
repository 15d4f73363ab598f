"""A drive through Town, rendered and then played into the node; with RViz to watch it.

ros2 launch km3d_ros demo.launch.py rviz:=true
"""

import sys

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from km3d_ros.demo.topics import FRAME_ID, PROFILE_VARIABLES

SHARE = FindPackageShare("km3d_ros")


def detector(context: LaunchContext) -> list[IncludeLaunchDescription]:
    rviz = LaunchConfiguration("rviz")
    # Only RViz asks where the camera is.
    frame = FRAME_ID if IfCondition(rviz).evaluate(context) else ""
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([SHARE, "launch", "km3d.launch.py"])
            ),
            launch_arguments={"camera_frame": frame, "rviz": rviz}.items(),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("frames", default_value="200", description="length, at 10 Hz"),
        DeclareLaunchArgument("seed", default_value="7", description="of the drive"),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz"),
    ]
    # Images larger than Fast DDS's own shared memory need the profile where they are sent
    camera = ExecuteProcess(
        cmd=[
            *(sys.executable, "-m", "km3d_ros.demo.town_camera"),
            *("--frames", LaunchConfiguration("frames")),
            *("--seed", LaunchConfiguration("seed")),
        ],
        name="camera",
        additional_env=dict.fromkeys(
            PROFILE_VARIABLES, PathJoinSubstitution([SHARE, "config", "fastdds_shm.xml"])
        ),
        output="screen",
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=detector), camera])
