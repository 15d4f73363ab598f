"""One camera: the km3d node, and on request RViz and the camera's place on the vehicle.

ros2 launch km3d_ros km3d.launch.py image:=/camera/image_rect camera_info:=/camera/camera_info
"""

from math import pi

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("km3d_ros")


def detector(context: LaunchContext) -> list[Node]:
    # Arguments that are left empty must not override the parameter file.
    given = {name: LaunchConfiguration(name).perform(context) for name in ("weights", "device")}
    image = LaunchConfiguration("image")
    return [
        Node(
            package="km3d_ros",
            executable="km3d_node",
            name="km3d",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {name: value for name, value in given.items() if value},
                {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            remappings=[
                ("image", image),
                ("image/compressed", [image, "/compressed"]),
                ("camera_info", LaunchConfiguration("camera_info")),
            ],
            output="screen",
        )
    ]


def camera_pose(context: LaunchContext) -> list[Node]:
    frame = LaunchConfiguration("camera_frame").perform(context)
    if not frame:
        return []
    # From the vehicle's axes (x ahead, z up) to the optical ones (z ahead, y down).
    return [
        Node(
            package="tf2_ros",
            executable="static_transform_publisher",
            name="camera_pose",
            arguments=[
                *("--frame-id", "base_link", "--child-frame-id", frame),
                *("--z", LaunchConfiguration("camera_height")),
                *("--roll", str(-pi / 2), "--yaw", str(-pi / 2)),
            ],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    # Arguments
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="of the node"),
        DeclareLaunchArgument("image", default_value="image", description="image topic"),
        DeclareLaunchArgument(
            "camera_info", default_value="camera_info", description="CameraInfo topic"
        ),
        DeclareLaunchArgument(
            "weights", default_value="", description="weights file; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "device", default_value="", description="auto, cpu, cuda; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([SHARE, "config", "km3d.yaml"]),
            description="parameters of the node",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="time from /clock, for bags"
        ),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz"),
        DeclareLaunchArgument(
            "camera_frame",
            default_value="",
            description="frame_id of the images; when given, base_link -> camera_frame is "
            "published for a camera that looks straight ahead, for bags without TF",
        ),
        DeclareLaunchArgument(
            "camera_height", default_value="1.65", description="metres above base_link"
        ),
    ]

    # RViz
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=["-d", PathJoinSubstitution([SHARE, "rviz", "km3d.rviz"])],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )

    return LaunchDescription(
        [
            *arguments,
            OpaqueFunction(function=detector),
            OpaqueFunction(function=camera_pose),
            rviz,
        ]
    )
