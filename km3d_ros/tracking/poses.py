"""Where sensors are mounted on the vehicle, and how the vehicle moves."""

from __future__ import annotations

from bisect import bisect

import numpy as np
from scipy.spatial.transform import Rotation

from km3d_ros.errors import InputError
from km3d_ros.frames.static_transforms import frame_name
from km3d_ros.geometry.pose import Pose

KEPT = 5.0
"""Seconds of odometry that are kept."""
LONGEST_HOLE = 0.5
"""Seconds between two poses of the odometry over which it is interpolated."""
AHEAD = 0.2
"""Seconds after the newest pose of the odometry up to which it is extrapolated."""
BASELINE = 0.05
"""Least seconds between the two poses from which the odometry is extrapolated."""
FASTEST = 100.0
"""Metres per second. A faster change between two poses of the odometry counts as a jump."""
NEARBY = 1.0
"""Metres. A smaller change of the position is never a jump."""


def parse_mount(text: str) -> tuple[str, Pose]:
    """Frame and pose from "frame x y z roll pitch yaw", as for static_transform_publisher.

    >>> frame, pose = parse_mount("front 1.5 0 1.6 -1.5708 0 -1.5708")
    >>> frame, pose.translation.tolist(), pose.rotation.round(3)[0].tolist()
    ('front', [1.5, 0.0, 1.6], [-0.0, -0.0, 1.0])

    Raises:
        InputError: the text is not of that form.
    """
    frame, *numbers = text.split() or [""]
    try:
        x, y, z, roll, pitch, yaw = map(float, numbers)
        turn = Rotation.from_euler("xyz", (roll, pitch, yaw)).as_quat()
        return frame_name(frame), Pose.of(turn, (x, y, z))
    except (ValueError, InputError):
        raise InputError(
            f"mounts has {text!r}, expected: frame x y z roll pitch yaw (metres, radians)"
        ) from None


class Odometry:
    """The poses of the vehicle over time.

    jumps: number of jumps of the position, and of jumps back in time.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self.restart()

    def restart(self) -> None:
        """Forget all poses."""
        self._times: list[float] = []
        self._poses: list[Pose] = []

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time: float, pose: Pose) -> bool:
        """Add a pose. Returns False if it is a jump; earlier poses are then forgotten.

        A pose that is up to `KEPT` seconds older than the newest one is left out.
        """
        if not self._times:
            self._times, self._poses = [time], [pose]
            return True
        seconds = time - self._times[-1]
        if -KEPT < seconds <= 0:
            return True
        distance = np.linalg.norm(pose.translation - self._poses[-1].translation)
        if seconds <= 0 or distance > max(FASTEST * seconds, NEARBY):
            self.jumps += 1
            self._times, self._poses = [time], [pose]
            return False
        first = bisect(self._times, time - KEPT)
        self._times = [*self._times[first:], time]
        self._poses = [*self._poses[first:], pose]
        return True

    def at(self, time: float) -> Pose:
        """The pose at a time, interpolated, or extrapolated by up to `AHEAD`.

        Raises:
            InputError: there is no pose near this time.
        """
        if not self._times or time < self._times[0]:
            raise InputError("there was no odometry yet at the time of the detections")
        last = bisect(self._times, time)
        if self._times[last - 1] == time:
            return self._poses[last - 1]
        if last == len(self._times):
            last -= 1
            first = bisect(self._times, self._times[last] - BASELINE) - 1
            late = time - self._times[last]
            if late > AHEAD or first < 0:
                raise InputError(f"odometry stopped {late:.2f} s before the detections")
        else:
            first = last - 1
        start, end = self._times[first], self._times[last]
        if end - start > LONGEST_HOLE:
            raise InputError(f"odometry was missing for {end - start:.2f} s")
        return _between(self._poses[first], self._poses[last], (time - start) / (end - start))


def _between(first: Pose, second: Pose, share: float) -> Pose:
    """On the way from one pose to another; a share above 1 is beyond the second."""
    turn = Rotation.from_matrix(first.rotation.T @ second.rotation).as_rotvec()
    rotation = first.rotation @ Rotation.from_rotvec(share * turn).as_matrix()
    moved = first.translation + share * (second.translation - first.translation)
    return Pose(rotation, moved)
