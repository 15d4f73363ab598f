"""How cameras are mounted on the vehicle: from fixed angles, or from static transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.geometry.level import (
    angles_of,
    level_from_angles,
    level_from_mount,
    rotation_matrix,
)

if TYPE_CHECKING:
    from tf2_msgs.msg import TFMessage

STATIC_TRANSFORMS = ("/tf_static", "tf2_msgs/msg/TFMessage")
"""Topic and type of the static transforms."""

_SHOWN = 6
"""Most frames that a message names."""


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

        Args:
            base_frame: frame of the vehicle, z up, from which static transforms lead to the
                cameras; empty: the angles count.
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
        self.base_frame = _name(base_frame)
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
            rotation = transforms.rotation(self.base_frame, frame_id)
        except InputError as error:
            if self._required:
                raise
            return Mount(np.eye(3), str(error))
        try:
            return Mount(level_from_mount(rotation))
        except InputError as error:
            raise InputError(f"{frame_id} in {self.base_frame}: {error}") from None


@dataclass(frozen=True)
class StaticTransforms:
    """The rotations between frames that do not move, as /tf_static has them.

    A chain over several frames is followed. Transforms on /tf, of joints that move, do not count.
    """

    _links: dict[str, tuple[str, tuple[float, ...]]] = field(default_factory=dict)
    """Parent and quaternion x, y, z, w of each child frame."""

    def with_those_of(self, message: TFMessage) -> StaticTransforms:
        """These transforms, and those of a message in place of older ones."""
        links = dict(self._links)
        for transform in message.transforms:
            turn = transform.transform.rotation
            parent = _name(transform.header.frame_id)
            links[_name(transform.child_frame_id)] = parent, (turn.x, turn.y, turn.z, turn.w)
        return StaticTransforms(links)

    def rotation(self, base: str, frame: str) -> np.ndarray:
        """The rotation (3, 3) float64 from a frame into `base`.

        Raises:
            InputError: there is no chain between them, or it has no valid rotation.
        """
        of_frame, of_base = self._ancestors(_name(frame)), self._ancestors(_name(base))
        common = next((name for name in of_frame if name in of_base), None)
        if common is None:
            raise InputError(f"no static transform from {base} to {frame}; {self._describe()}")
        return of_base[common].T @ of_frame[common]

    def _ancestors(self, frame: str) -> dict[str, np.ndarray]:
        """The rotations from a frame into itself and into each of its ancestors."""
        found = {frame: np.eye(3)}
        while frame in self._links:
            parent, turn = self._links[frame]
            if parent in found:
                raise InputError(f"static transforms form a loop: {' <- '.join([*found, parent])}")
            try:
                found[parent] = rotation_matrix(*turn) @ found[frame]
            except InputError as error:
                raise InputError(f"static transform from {parent} to {frame}: {error}") from None
            frame = parent
        return found

    def _describe(self) -> str:
        names = sorted({*self._links, *(parent for parent, _ in self._links.values())})
        if not names:
            return "/tf_static has none"
        more = ", …" if len(names) > _SHOWN else ""
        return f"frames on /tf_static: {', '.join(names[:_SHOWN])}{more}"


def _name(frame: str) -> str:
    """A frame without the slash with which ROS 1 began its name."""
    return frame.removeprefix("/")
