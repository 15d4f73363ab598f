"""One camera or several: the km3d node, on request RViz and the camera's place on the vehicle.

ros2 launch km3d_ros km3d.launch.py image:=/camera/image_rect camera_info:=/camera/camera_info
"""

from math import asin, atan2, cos, isfinite, sin
from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("km3d_ros")
# Spelled as in the parameter file, which those that are left empty do not override.
TEXTS = ("weights", "device", "image_transport", "base_frame")
SWITCHES = ("rectified", "autostart")
MOUNT = ("camera_pitch", "camera_roll")
ARGUMENTS = {
    "namespace": ("", "of the node"),
    "cameras": (
        "",
        "names of several cameras on this node, as front,left,right; those that only params_file "
        "names are not seen here",
    ),
    "image": (
        "",
        "image topic, with {camera} for the name of each of several cameras; empty: image or "
        "{camera}/image",
    ),
    "camera_info": ("", "CameraInfo topic, likewise"),
    "rectified": (
        "",
        "whether images are rectified: true, false or auto; empty: as in params_file",
    ),
    "image_transport": ("", "raw or compressed; empty: as in params_file"),
    "weights": ("", "weights file; empty: as in params_file"),
    "device": ("", "auto, cpu, cuda; empty: as in params_file"),
    "autostart": (
        "",
        "whether the node configures and activates itself, or waits for lifecycle transitions; "
        "empty: as in params_file",
    ),
    "params_file": (
        PathJoinSubstitution([SHARE, "config", "km3d.yaml"]),
        "parameters of the node",
    ),
    "use_sim_time": ("false", "time from /clock, for bags"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "base_frame": (
        "",
        "frame of the vehicle, z up: the node takes pitch and roll of the cameras from "
        "/tf_static, and RViz shows the boxes in it; empty: as in params_file, and base_link",
    ),
    "camera_pitch": ("", "radians, positive: the camera looks down; empty: as in params_file"),
    "camera_roll": (
        "",
        "radians, positive: the camera leans to the right; empty: as in params_file",
    ),
    "rviz": ("false", "start RViz"),
    "fixed_frame": ("", "of RViz; empty: base_frame"),
    "camera_frame": (
        "",
        "frame_id of the images; when given, base_frame -> camera_frame is published for a camera "
        "that looks ahead with camera_pitch and camera_roll, for bags without TF",
    ),
    "camera_height": ("1.65", "metres above base_frame"),
}
"""Defaults and descriptions."""


def camera_names(context: LaunchContext) -> list[str]:
    """As front,left or as [front, left]; the only camera has an empty name."""
    cameras = LaunchConfiguration("cameras").perform(context)
    return cameras.strip("[]").replace(",", " ").split() or [""]


def remappings(context: LaunchContext, cameras: list[str]) -> list[tuple[str, str]]:
    """From the node's names of the cameras' topics to those that the user gives."""
    rules = []
    for name in ("image", "camera_info"):
        pattern = LaunchConfiguration(name).perform(context)
        if pattern and len(cameras) > 1 and "{camera}" not in pattern:
            raise ValueError(f"{name} is {pattern!r}: several cameras need {{camera}} in it")
        for camera in cameras if pattern else ():
            own = f"{camera}/{name}" if camera else name
            rules.append((own, pattern.replace("{camera}", camera)))
    return rules


def given(context: LaunchContext, *names: str) -> dict[str, str]:
    """The values of those arguments that are not empty."""
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    return {name: value for name, value in values.items() if value}


def number(context: LaunchContext, name: str) -> float:
    """The value of an argument; 0 if it is empty."""
    text = LaunchConfiguration(name).perform(context)
    try:
        value = float(text or 0)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ValueError(f"{name} is {text!r}, expected a number")
    return value


def params_file(context: LaunchContext) -> str:
    path = LaunchConfiguration("params_file").perform(context)
    if not Path(path).is_file():  # launch_ros would start the node without it
        raise ValueError(f"params_file is {path!r}: no such file")
    return path


def detector(context: LaunchContext) -> list[LifecycleNode]:
    cameras = camera_names(context)
    parameters: dict = given(context, *TEXTS)
    parameters |= {name: LaunchConfiguration(name) for name in given(context, *SWITCHES)}
    # With both frames, the published transform has the angles.
    if len(given(context, "base_frame", "camera_frame")) < 2:
        parameters |= {name: number(context, name) for name in given(context, *MOUNT)}
    if cameras != [""]:
        parameters["cameras"] = cameras
    return [
        LifecycleNode(
            package="km3d_ros",
            executable="km3d_node",
            name="km3d",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                params_file(context),
                parameters,
                {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            remappings=remappings(context, cameras),
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def camera_pose(context: LaunchContext) -> list[Node]:
    frames = {"base_frame": "base_link"} | given(context, "base_frame", "camera_frame")
    if "camera_frame" not in frames:
        return []
    roll, pitch, yaw = optical_angles(*(number(context, name) for name in MOUNT))
    return [
        Node(
            package="tf2_ros",
            executable="static_transform_publisher",
            name="camera_pose",
            namespace=LaunchConfiguration("namespace"),
            arguments=[
                *("--frame-id", frames["base_frame"]),
                *("--child-frame-id", frames["camera_frame"]),
                *("--z", str(number(context, "camera_height"))),
                *("--roll", str(roll), "--yaw", str(yaw), "--pitch", str(pitch)),
            ],
        )
    ]


def optical_angles(pitch: float, roll: float) -> tuple[float, float, float]:
    """Roll, pitch and yaw of the optical frame (z ahead, y down) of a camera's body (x ahead)."""
    return (
        atan2(-cos(pitch) * cos(roll), -sin(pitch)),
        asin(cos(pitch) * sin(roll)),
        atan2(-cos(roll), -sin(pitch) * sin(roll)),
    )


def rviz(context: LaunchContext) -> list[Node]:
    """RViz in the node's namespace, which the topics of its displays are relative to."""
    if not IfCondition(LaunchConfiguration("rviz")).evaluate(context):
        return []
    setup = Path(SHARE.perform(context)) / "rviz" / "km3d.rviz"
    frames = given(context, "fixed_frame", "base_frame")
    fixed_frame = next(iter(frames.values()), "base_link")
    cameras = camera_names(context)
    if cameras != [""]:
        setup = setup_of_cameras(setup, cameras)
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=LaunchConfiguration("namespace"),
            arguments=["-d", str(setup), "-f", fixed_frame],
            parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        )
    ]


def setup_of_cameras(single: Path, cameras: list[str]) -> Path:
    """RViz's setup with the displays of a single camera for each of several."""
    setup = yaml.safe_load(single.read_text())
    manager = setup["Visualization Manager"]
    displays, manager["Displays"] = manager["Displays"], []
    for display in displays:
        if not display.get("Topic", {}).get("Value", "").startswith("km3d/"):
            manager["Displays"].append(display)
            continue
        for camera in cameras:
            topic = display["Topic"]["Value"].replace("km3d/", f"km3d/{camera}/")
            own = {"Name": f"{display['Name']}: {camera}"}
            own["Topic"] = display["Topic"] | {"Value": topic}
            manager["Displays"].append(display | own)
    path = Path(launch_config.log_dir) / f"{'_'.join(cameras)}.rviz"
    path.write_text(yaml.safe_dump(setup, sort_keys=False))
    return path


def nodes(context: LaunchContext) -> list[Node]:
    """The package that may be missing comes first: an error does not end what already runs."""
    return [*rviz(context), *camera_pose(context), *detector(context)]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
