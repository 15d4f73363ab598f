"""How cameras are mounted on the vehicle: from fixed angles, or from static transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.errors import InputError, naming
from km3d_ros.frames.static_transforms import StaticTransforms, frame_name
from km3d_ros.geometry.level import angles_of, level_from_angles, level_from_mount

if TYPE_CHECKING:
    from tf2_msgs.msg import TFMessage


@dataclass(frozen=True)
class Mount:
    """How a camera is mounted.

    level: (3, 3) float64, from the frame of its images into its level frame.
    problem: why the level frame is not known and the camera counts as level; else empty.
    """

    level: np.ndarray
    problem: str = ""

    def __str__(self) -> str:
        pitch, roll = (math.degrees(angle) for angle in angles_of(self.level))
        # Adding zero turns -0.0 into 0.0.
        return f"pitch {round(pitch, 1) + 0:.1f}°, roll {round(roll, 1) + 0:.1f}°"


class Mounting:
    """The mounts of all cameras, by the frames that the headers of their images name.

    One thread may add transforms while others ask for mounts.

    base_frame: as given, without the slash of ROS 1.
    settings: base frame, pitch and roll as given.
    """

    def __init__(
        self, base_frame: str = "", pitch: float = 0.0, roll: float = 0.0, required: bool = False
    ) -> None:
        """Create a mounting.

        base_frame: frame of the vehicle, z up, from which static transforms lead to the cameras;
            empty: the angles count.
        pitch, roll: of all cameras in radians, as in `geometry.level`.
        required: a camera without static transform is an error; else it counts as level.

        Raises:
            InputError: an angle that is not possible, or a frame as well as angles.
        """
        if base_frame and (pitch or roll):
            raise InputError(
                f"base_frame is {base_frame!r} and the camera's angles are given (pitch "
                f"{pitch:g}, roll {roll:g} rad), expected one of both"
            )
        self.base_frame = frame_name(base_frame)
        self.settings = (base_frame, pitch, roll)
        self._required = required
        self._fixed = Mount(level_from_angles(pitch, roll))
        self._transforms = StaticTransforms()
        self._known: dict[str, Mount] = {}

    def add(self, message: TFMessage) -> None:
        """Take the transforms of a message on /tf_static."""
        self._transforms = self._transforms.with_those_of(message)
        # A new object: a thread that asks at this moment fills the old one.
        self._known = {}

    def of(self, frame_id: str) -> Mount:
        """How the camera of this frame is mounted.

        Raises:
            InputError: the camera looks too far up or down, or its transform is required and not
                known.
        """
        if not self.base_frame:
            return self._fixed
        known, transforms = self._known, self._transforms
        if frame_id not in known:
            known[frame_id] = self._look_up(transforms, frame_id)
        return known[frame_id]

    def _look_up(self, transforms: StaticTransforms, frame_id: str) -> Mount:
        try:
            rotation = transforms.pose(self.base_frame, frame_id).rotation
        except InputError as error:
            if self._required:
                raise
            return Mount(np.eye(3), str(error))
        with naming(f"{frame_id} in {self.base_frame}"):
            return Mount(level_from_mount(rotation))
