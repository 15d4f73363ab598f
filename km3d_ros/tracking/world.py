"""From detections in the frames of sensors to tracks in one frame; without rclpy.

The node and `km3d bag` pass detections and odometry in the order of their arrival.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.frames.static_transforms import StaticTransforms, frame_name
from km3d_ros.geometry.pose import Pose
from km3d_ros.tracking.measurements import Boxes, level_measurements, rotation_matrices
from km3d_ros.tracking.poses import Odometry
from km3d_ros.tracking.tracker import LATEST, LONGEST_GAP, Tracker

Array = np.ndarray

OPTICAL = np.array([(0, 0, 1), (-1, 0, 0), (0, -1, 0)], float)
"""From an optical frame (z ahead, y down) into the level frame of the same camera."""
GROUND_FRAME = "base_footprint"
"""Name of the frame on the ground below a vehicle (REP 120)."""
LEARNED = "learned"
"""Source of a ground that no static transform gives."""
STEEPEST = 0.5
"""Largest slope of the ground in the level frame. More is a wrong frame."""


class LeftOut(str, Enum):
    """Why the detections of an image were not used."""

    UNKNOWN_FRAME = "unknown_frame"
    NO_ODOMETRY = "no_odometry"
    LATE = "late"
    BAD_MESSAGE = "bad_message"


class DroppedDetections(Exception):  # noqa: N818 - an outcome, not an error of the program
    """Detections that are not used; carries the cause and the reason."""

    def __init__(self, cause: LeftOut, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class World:
    """Tracks objects from all sensors.

    Objects are tracked in the frame of the odometry if there is any, otherwise in `base_frame` if
    it is given, otherwise in the frame of the first detections. If the static transforms have the
    frame `ground_frame`, its xy plane is the ground on which the objects stand.

    transforms: where the sensors are mounted.
    tracker: the objects, in a level frame.
    frame: the frame in which objects are tracked, "" before the first detections.
    level: (3, 3) from `frame` into the level frame of the tracker.
    faults: numbers of detections with faults: "rejected", "without_covariance".
    restarts: how often tracking started again, by cause.
    ground_sources: by sensor, the source of its ground plane: the name of a frame, or "learned".
    """

    def __init__(self, base_frame: str = "", ground_frame: str = GROUND_FRAME) -> None:
        self.transforms = StaticTransforms()
        self.odometry = Odometry()
        self.tracker = Tracker()
        self.faults: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()
        self.ground_sources: dict[str, str] = {}
        self._base, self._ground_frame = frame_name(base_frame), frame_name(ground_frame)
        self._odometry_frames: tuple[str, str] | None = None
        self._newest: dict[str, float] = {}
        self.restart()

    @property
    def moves(self) -> bool:
        """Whether the motion of the vehicle is known."""
        return self._odometry_frames is not None

    def restart(self, cause: str = "") -> None:
        """Forget objects and times, but not the static transforms. Ids are not used again."""
        if cause:
            self.restarts[cause] += 1
        self.frame, self.level = "", np.eye(3)
        self._newest.clear()
        self.tracker.restart()

    def take_odometry(self, frame: str, child: str, time: float, pose: Pose) -> None:
        """Add the pose of the vehicle's frame `child` in the level frame `frame`."""
        frames = frame_name(frame), frame_name(child)
        if frames != self._odometry_frames:
            self._odometry_frames = frames
            self.odometry.restart()
            if self.frame:
                self.restart("odometry_frame")
        if not self.odometry.add(time, pose):
            self.restart("odometry_jump")

    def take(self, sensor: str, frame: str, time: float, boxes: Boxes) -> None:
        """Update the tracks with all detections of one image.

        Args:
            sensor: name of the sensor, for example its topic.
            frame: of the detections.
            time: of the image, seconds.
            boxes: the detections.

        Raises:
            DroppedDetections: they could not be used.
        """
        if time < self._newest.get(sensor, time) - LONGEST_GAP:
            self.restart("time_went_back")
        self._newest[sensor] = time
        reference, pose = self._pose(frame_name(frame), time)
        if reference != self.frame:
            if self.frame:
                self.restart("frame")
                self._newest[sensor] = time
            self.frame = reference
            self.level = np.eye(3) if self.moves or self._base else _level(boxes, pose)
        pose = Pose(self.level, np.zeros(3)) @ pose
        measured, faults = level_measurements(boxes, pose.rotation, pose.translation)
        self.faults["rejected"] += faults.rejected
        self.faults["without_covariance"] += faults.covariance
        newest = self.tracker.time
        plane = self._plane(frame, pose)
        used = self.tracker.step(measured, time, sensor, plane)
        self.ground_sources[sensor] = self._ground_source(sensor, plane)
        if not used:
            raise DroppedDetections(
                LeftOut.LATE,
                f"{newest - time:.2f} s older than the newest ones, at most {LATEST} s are used",
            )

    def _pose(self, frame: str, time: float) -> tuple[str, Pose]:
        """The frame in which objects are tracked, and the pose of the sensor's frame in it."""
        try:
            if self._odometry_frames is None:
                reference = self._base or self.frame or frame
                return reference, self.transforms.pose(reference, frame)
            reference, child = self._odometry_frames
            mount = self.transforms.pose(self._base or child, frame)
        except InputError as error:
            raise DroppedDetections(LeftOut.UNKNOWN_FRAME, str(error)) from None
        try:
            return reference, self.odometry.at(time) @ mount
        except InputError as error:
            raise DroppedDetections(LeftOut.NO_ODOMETRY, str(error)) from None

    def _plane(self, frame: str, pose: Pose) -> Array | None:
        """(3,) of the ground, as `Tracker.step` takes it; None if it is not known.

        pose: of the sensor's frame in the level frame.
        """
        if not self._ground_frame:
            return None
        try:
            ground = pose @ self.transforms.pose(frame, self._ground_frame)
        except InputError:
            return None
        normal, point = ground.rotation[:, 2], ground.translation - pose.translation
        slopes = -normal[:2] / normal[2] if normal[2] > 0 else np.full(2, np.inf)
        if np.hypot(*slopes) > STEEPEST:
            return None
        return np.array([point[2] - slopes @ point[:2], *slopes])

    def _ground_source(self, sensor: str, plane: Array | None) -> str:
        if plane is None:
            return LEARNED
        if self.tracker.contradicts_mount(sensor):
            return f"{LEARNED} ({self._ground_frame} contradicts the detections)"
        return self._ground_frame


def _level(boxes: Boxes, pose: Pose) -> Array:
    """Rotation (3, 3) into a level frame, from a frame whose axes nobody described.

    Boxes stand upright, so that they show whether z or -y points up.
    """
    norm = np.linalg.norm(boxes.quaternion, axis=1)
    valid = np.isfinite(norm) & (norm > 0)
    if not valid.any():
        return OPTICAL
    turns = rotation_matrices(boxes.quaternion[valid] / norm[valid, None])
    up = (pose.rotation @ turns)[:, :, 2].mean(0)
    return OPTICAL if -up[1] > up[2] else np.eye(3)
