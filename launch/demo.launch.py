"""A drive through Town, rendered and then played into detector and tracker; with RViz to watch.

ros2 launch km3d_ros demo.launch.py rviz:=true
"""

import sys

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from km3d_ros.demo.topics import FRAME_ID, PROFILE_VARIABLES

SHARE = FindPackageShare("km3d_ros")


def included(file: str, **arguments) -> GroupAction:
    source = PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", file]))
    # A group of its own: else the second file has the params_file of the first.
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


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
    # The tracker needs the place of the camera, too.
    detector = included("km3d.launch.py", camera_frame=FRAME_ID, rviz=LaunchConfiguration("rviz"))
    tracker = included("km3d_tracker.launch.py")
    return LaunchDescription([*arguments, detector, tracker, camera])
