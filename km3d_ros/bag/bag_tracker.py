"""Tracks for the detections of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection3DArray

from km3d_ros.bag.camera_topics import Wanted
from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.ros_messages import described, type_store
from km3d_ros.bag.survey import Survey
from km3d_ros.errors import InputError
from km3d_ros.node.track_messages import Snapshot, object_array, track_array
from km3d_ros.tracking.poses import parse_mount
from km3d_ros.tracking.reading import read_boxes, read_pose, seconds
from km3d_ros.tracking.world import DroppedDetections, World

ODOMETRY = "nav_msgs/msg/Odometry"
TRACKS = "vision_msgs/msg/Detection3DArray"
OBJECTS = "km3d_ros/msg/TrackedObjectArray"
EXISTENCE = 0.5
AHEAD = 300_000_000
"""Nanoseconds after an image up to which odometry is used for its detections."""


@dataclass
class TrackSummary:
    """Results of tracking.

    tracks: topic. frame: in which objects are tracked. odometry: topic, "" without.
    ground_sources: by image topic, the source of the ground plane: a frame, or "learned".
    images: used ones. objects: number of identities that were written.
    unusable: images by cause.
    """

    tracks: str
    odometry: str
    frame: str = ""
    ground_sources: dict[str, str] = field(default_factory=dict)
    images: int = 0
    objects: int = 0
    unusable: dict[str, int] = field(default_factory=dict)


class BagTracker:
    """Tracks the objects of all cameras, image by image in the order of the recording.

    summary: of what was done so far.
    """

    def __init__(
        self, source: Path, wanted: Wanted, survey: Survey, messages: Iterable[Message]
    ) -> None:
        """Read the odometry and the static transforms of a recording.

        Raises:
            InputError: the topic of the odometry is not there or not clear, a mount makes no
                sense, or the recording has tracks already.
        """
        self._world = World(ground_frame=wanted.ground_frame)
        self._types = type_store()
        self._poses: dict[str, list[tuple[int, Any]]] = {}
        for message in messages:
            if message.topic.type == ODOMETRY:
                known = self._poses.setdefault(message.topic.name, [])
                with suppress(Exception):  # rosbags has no class for what cannot be deserialised
                    known.append((message.time, self._read_odometry(message.data)))
        for message in survey.static_transforms(self._types):
            self._world.transforms = self._world.transforms.with_those_of(message)
        odometry = self._choose(source, wanted.odometry)
        # The next one last; poses of one time stay in the order of the recording.
        poses = sorted(self._poses.get(odometry, ()), key=lambda entry: entry[0])
        self._poses_ahead = poses[::-1]
        self._mount(wanted.mounts)
        self._topics = (
            described(f"{wanted.prefix}_tracker/tracks", TRACKS, self._types),
            described(f"{wanted.prefix}_tracker/objects", OBJECTS, self._types),
        )
        for topic in self._topics:
            if topic.name in survey.types:
                raise InputError(f"{source} has {topic.name} already: give another --prefix")
        self._numbers: set[int] = set()
        self.summary = TrackSummary(self._topics[0].name, odometry)

    def __call__(self, image: Message, detections: bytes) -> Mapping[Topic, bytes]:
        """The serialised tracks after the detections of an image.

        Empty if the detections cannot be used.
        """
        while self._poses_ahead and self._poses_ahead[-1][0] <= image.time + AHEAD:
            self._world.take_odometry(*self._poses_ahead.pop()[1])
        message = deserialize_message(detections, Detection3DArray)
        header = message.header
        try:
            boxes = read_boxes(message)
            self._world.take(image.topic.name, header.frame_id, seconds(header.stamp), boxes)
        except DroppedDetections as dropped:
            cause = dropped.cause.value
            self.summary.unusable[cause] = self.summary.unusable.get(cause, 0) + 1
            return {}
        snapshot = Snapshot.of(self._world, header, EXISTENCE)
        self._numbers |= set(snapshot.tracks.number.tolist())
        self.summary.images += 1
        self.summary.objects = len(self._numbers)
        self.summary.frame = self._world.frame
        self.summary.ground_sources = dict(self._world.ground_sources)
        # With rosbags, as the detections: the same tracks give the same bytes.
        return {
            topic: bytes(self._types.serialize_cdr(make(snapshot), topic.type))
            for topic, make in zip(self._topics, (track_array, object_array), strict=True)
        }

    def _read_odometry(self, data: bytes) -> tuple[Any, ...]:
        """The arguments of `World.take_odometry`."""
        message = self._types.deserialize_cdr(data, ODOMETRY)
        time, pose = seconds(message.header.stamp), read_pose(message.pose.pose)
        return message.header.frame_id, message.child_frame_id, time, pose

    def _choose(self, source: Path, wanted: str) -> str:
        known = sorted(self._poses)
        if wanted and wanted not in known:
            names = ", ".join(known) or "none"
            raise InputError(f"{source} has no odometry on {wanted}; odometry: {names}")
        if not wanted and len(known) > 1:
            raise InputError(
                f"{source} has odometry on {', '.join(known)}: choose one with --odometry"
            )
        return wanted or next(iter(known), "")

    def _mount(self, mounts: Sequence[str]) -> None:
        if not mounts:
            return
        if not self._poses_ahead:
            raise InputError("--mount needs odometry, whose child_frame_id the mounts refer to")
        child = self._poses_ahead[-1][1][1]
        for text in mounts:
            frame, pose = parse_mount(text)
            self._world.transforms = self._world.transforms.with_pose(child, frame, pose)
