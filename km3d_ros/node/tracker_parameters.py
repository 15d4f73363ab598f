"""The parameters of the tracker node."""

from __future__ import annotations

from dataclasses import dataclass

from km3d_ros.node.parameters import autostart, marker_lifetime, parameter, rules
from km3d_ros.tracking.world import GROUND_FRAME


@dataclass(frozen=True)
class FixedSettings:
    """The parameters that are read when the node is configured."""

    inputs: list[str] = parameter(
        ["km3d/detections"], "Topics with vision_msgs/Detection3DArray, one per sensor."
    )
    base_frame: str = parameter(
        "",
        "Frame of the vehicle, z up, in which the sensors are mounted; empty: child_frame_id of "
        "the odometry.",
    )
    ground_frame: str = parameter(
        GROUND_FRAME,
        "Frame whose xy plane is the ground, z up. If it is empty, or without a static transform "
        "to it, the ground is learned from the detections.",
    )
    mounts: list[str] = parameter(
        [""],
        "Where sensors are mounted, if /tf_static does not have it: frame x y z roll pitch yaw in "
        "base_frame, metres and radians, as for static_transform_publisher.",
    )
    autostart: bool = autostart()


@dataclass(frozen=True)
class LiveSettings:
    """The parameters that can change while the node runs."""

    existence: float = parameter(
        0.5,
        "Objects that exist with a lower probability are not published.",
        low=0.01,
        high=0.99,
    )
    marker_lifetime: float = marker_lifetime()


PARAMETERS = rules(FixedSettings, LiveSettings)
