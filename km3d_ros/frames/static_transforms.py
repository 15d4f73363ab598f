"""Static transforms between the frames of a vehicle, as /tf_static has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from km3d_ros.errors import InputError
from km3d_ros.geometry.pose import Pose

if TYPE_CHECKING:
    from tf2_msgs.msg import TFMessage

STATIC_TRANSFORMS = ("/tf_static", "tf2_msgs/msg/TFMessage")
"""Topic and type of the static transforms."""

_SHOWN = 6
"""Most frames that a message names."""


@dataclass(frozen=True)
class StaticTransforms:
    """The poses of frames that do not move relative to each other.

    A chain over several frames is followed. Transforms on /tf, of joints that move, do not count.
    """

    _links: dict[str, tuple[str, Pose | InputError]] = field(default_factory=dict)
    """Parent of each child frame, and its pose in the parent, or why that is no pose."""

    def with_those_of(self, message: TFMessage) -> StaticTransforms:
        """These transforms, and those of a message in place of older ones."""
        links = dict(self._links)
        for item in message.transforms:
            parent, child = frame_name(item.header.frame_id), frame_name(item.child_frame_id)
            q, p = item.transform.rotation, item.transform.translation
            try:
                pose = Pose.of((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))
            except InputError as error:
                pose = error
            links[child] = parent, pose
        return StaticTransforms(links)

    def with_pose(self, parent: str, child: str, pose: Pose) -> StaticTransforms:
        """These transforms, and the pose of `child` in `parent` in place of an older one."""
        return StaticTransforms({**self._links, frame_name(child): (frame_name(parent), pose)})

    def pose(self, base: str, frame: str) -> Pose:
        """The pose of a frame in `base`.

        Raises:
            InputError: there is no chain between them, or it has no valid transform.
        """
        of_frame, of_base = self._ancestors(frame_name(frame)), self._ancestors(frame_name(base))
        common = next((name for name in of_frame if name in of_base), None)
        if common is None:
            raise InputError(f"no static transform from {base} to {frame}; {self._describe()}")
        return of_base[common].inverse() @ of_frame[common]

    def _ancestors(self, frame: str) -> dict[str, Pose]:
        """The poses of a frame in itself and in each of its ancestors."""
        found = {frame: Pose.identity()}
        while frame in self._links:
            parent, pose = self._links[frame]
            if parent in found:
                raise InputError(f"static transforms form a loop: {' <- '.join([*found, parent])}")
            if isinstance(pose, InputError):
                raise InputError(f"static transform from {parent} to {frame}: {pose}")
            found[parent] = pose @ found[frame]
            frame = parent
        return found

    def _describe(self) -> str:
        names = sorted({*self._links, *(parent for parent, _ in self._links.values())})
        if not names:
            return "/tf_static has none"
        more = ", …" if len(names) > _SHOWN else ""
        return f"frames with static transforms: {', '.join(names[:_SHOWN])}{more}"


def frame_name(frame: str) -> str:
    """A frame without the slash with which ROS 1 began its name."""
    return frame.removeprefix("/")
