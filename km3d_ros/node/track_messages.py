"""Tracks as ROS messages and RViz markers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from scipy.spatial.transform import Rotation
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from km3d_ros.drawing.shapes import color_of
from km3d_ros.drawing.tracks import SHOWN_SPEED
from km3d_ros.msg import ClassProbability, TrackedObject, TrackedObjectArray
from km3d_ros.node.messages import UNKNOWN_ANGLE_VARIANCE, box_array, set_pose
from km3d_ros.tracking.state import SPEED, Tracks, probability
from km3d_ros.tracking.world import World

Array = np.ndarray

UPWARD_VARIANCE = 0.1**2
"""Variance of the vertical velocity, which is not estimated, m²/s²."""
TRAIL = 2.0
"""Seconds of the trail behind an object."""
LABEL_HEIGHT = 0.6
LABEL_ABOVE_BOX = 0.5


@dataclass(frozen=True)
class Snapshot:
    """N tracks at one time, in the frame in which they are published.

    header: frame and stamp. tracks: in the level frame of the tracker.
    class_names: of the columns of `tracks.classes`.
    position: (N, 3). velocity: (N, 3). quaternion: (N, 4) x, y, z, w.
    pose_covariance, twist_covariance: (N, 6, 6).
    time: of the tracks, seconds. up: (3,) unit vector in the frame of the header.
    """

    header: Header
    tracks: Tracks
    class_names: Sequence[str]
    position: Array
    velocity: Array
    quaternion: Array
    pose_covariance: Array
    twist_covariance: Array
    time: float
    up: Array

    def __len__(self) -> int:
        return len(self.tracks)

    @staticmethod
    def of(world: World, header: Header, existence: float) -> Snapshot:
        """The tracks that exist with at least this probability.

        header: of the newest detections; the frame becomes that of the tracks.
        """
        tracks = world.tracker.objects(existence)
        mean, covariance = tracks.state()
        back, count = world.level.T, len(tracks)
        velocity = np.zeros((count, 3))
        velocity[:, :2] = mean[:, SPEED]
        pose, twist = np.zeros((2, count, 6, 6))
        pose[:, :3, :3] = covariance[:, :3, :3]
        # The probability that front and rear are confused adds the variance of half a turn.
        confused = probability(-tracks.forward)
        pose[:, [3, 4], [3, 4]] = UNKNOWN_ANGLE_VARIANCE
        pose[:, 5, 5] = np.minimum(
            tracks.yaw_variance + confused * math.pi**2, UNKNOWN_ANGLE_VARIANCE
        )
        twist[:, :2, :2] = covariance[:, SPEED, SPEED]
        twist[:, 2, 2] = UPWARD_VARIANCE
        twist[:, [3, 4, 5], [3, 4, 5]] = UNKNOWN_ANGLE_VARIANCE
        turn = np.kron(np.eye(2), back)
        about = np.zeros((count, 3))
        about[:, 2] = tracks.yaw
        turned = Rotation.from_matrix(back) * Rotation.from_rotvec(about) if count else None
        return Snapshot(
            header=Header(stamp=header.stamp, frame_id=world.frame),
            tracks=tracks,
            class_names=world.tracker.class_names,
            position=mean[:, :3] @ back.T,
            velocity=velocity @ back.T,
            quaternion=turned.as_quat() if count else np.empty((0, 4)),
            pose_covariance=turn @ pose @ turn.T,
            twist_covariance=turn @ twist @ turn.T,
            time=world.tracker.time or 0.0,
            up=back @ (0.0, 0.0, 1.0),
        )


def track_array(snapshot: Snapshot, pool: list[Detection3D] | None = None) -> Detection3DArray:
    """One Detection3D per track with id and most probable class; `pool` as in `box_array`."""
    tracks, names = snapshot.tracks, snapshot.class_names
    message = box_array(
        snapshot.header,
        [names[index] for index in tracks.best_classes().tolist()],
        probability(tracks.existence),
        snapshot.position,
        snapshot.quaternion,
        tracks.size,
        snapshot.pose_covariance.reshape(-1, 36),
        pool,
    )
    for detection, number in zip(message.detections, tracks.number.tolist(), strict=True):
        detection.id = str(number)
    return message


def object_array(
    snapshot: Snapshot, pool: list[TrackedObject] | None = None
) -> TrackedObjectArray:
    """Everything about the tracks, in the order of `track_array`.

    pool: as in `track_array`.
    """
    tracks, names = snapshot.tracks, snapshot.class_names
    pool = [] if pool is None else pool
    pool.extend(TrackedObject() for _ in range(len(tracks) - len(pool)))
    order = np.argsort(-tracks.classes, axis=1, kind="stable")
    rows = zip(
        pool,
        tracks.number.tolist(),
        snapshot.position.tolist(),
        snapshot.quaternion.tolist(),
        snapshot.pose_covariance.reshape(-1, 36),
        snapshot.velocity.tolist(),
        snapshot.twist_covariance.reshape(-1, 36),
        tracks.size.tolist(),
        order.tolist(),
        np.take_along_axis(tracks.classes, order, 1).tolist(),
        probability(tracks.existence).tolist(),
        probability(tracks.forward).tolist(),
        (snapshot.time - tracks.born).tolist(),
        (snapshot.time - tracks.seen).tolist(),
        strict=False,
    )
    for message, number, place, turn, covariance, velocity, spread, size, *rest in rows:
        columns, probabilities, existence, front, age, unseen = rest
        message.id, message.existence, message.front = number, existence, front
        message.age, message.unseen = age, unseen
        set_pose(message.pose.pose, place, turn)
        message.pose.covariance = covariance
        linear = message.twist.twist.linear
        linear.x, linear.y, linear.z = velocity
        message.twist.covariance = spread
        message.size.x, message.size.y, message.size.z = size
        if len(message.classes) != len(names):
            message.classes = [ClassProbability() for _ in names]
        for item, column, share in zip(message.classes, columns, probabilities, strict=True):
            item.class_id, item.probability = names[column], share
    return TrackedObjectArray(header=snapshot.header, objects=pool[: len(tracks)])


class Trails:
    """Where the objects were during the last `TRAIL` seconds."""

    def __init__(self) -> None:
        self._frame = ""
        self._places: dict[int, deque[tuple[float, Array]]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Add the positions of the tracks, and forget the tracks that ended."""
        if snapshot.header.frame_id != self._frame:
            self._frame, self._places = snapshot.header.frame_id, {}
        numbers = snapshot.tracks.number.tolist()
        self._places = {n: self._places.get(n, deque()) for n in numbers}
        for number, place in zip(numbers, snapshot.position, strict=True):
            places = self._places[number]
            while places and (places[0][0] < snapshot.time - TRAIL):
                places.popleft()
            if not places or places[-1][0] < snapshot.time:
                places.append((snapshot.time, place))

    def of(self, number: int) -> Array:
        """Positions (K, 3) of a track, the oldest one first."""
        return np.array([place for _, place in self._places.get(number, ())]).reshape(-1, 3)


def track_markers(snapshot: Snapshot, trails: Trails, lifetime: float) -> MarkerArray:
    """Box, id, velocity arrow and trail of every track, after a marker that deletes the old ones.

    The colour shows the class, the opacity shows the probability of existence. The length of an
    arrow is the distance that the object moves in one second.

    lifetime: seconds after which RViz removes a marker if no newer array arrives.
    """
    header, tracks = snapshot.header, snapshot.tracks
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    span = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
    existence = probability(tracks.existence)
    speeds = np.linalg.norm(snapshot.velocity, axis=1)
    for row, pose in enumerate(_poses(snapshot)):
        number, index = int(tracks.number[row]), int(tracks.classes[row].argmax())
        blue, green, red = (value / 255 for value in color_of(index))
        length, width, height = tracks.size[row].tolist()
        place = snapshot.position[row]

        def marker(name: str, kind: int, number: int = number, **values) -> Marker:
            return Marker(header=header, ns=name, id=number, type=kind, lifetime=span, **values)

        solid = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        pale = ColorRGBA(r=red, g=green, b=blue, a=0.2 + 0.5 * float(existence[row]))
        scale = Vector3(x=length, y=width, z=height)
        markers.append(marker("box", Marker.CUBE, pose=pose, scale=scale, color=pale))
        label = marker(
            "label", Marker.TEXT_VIEW_FACING, color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        )
        label.pose.position = _point(place + snapshot.up * (height / 2 + LABEL_ABOVE_BOX))
        label.scale.z = LABEL_HEIGHT
        label.text = f"{number} {snapshot.class_names[index]}  {speeds[row]:.1f} m/s"
        markers.append(label)
        if speeds[row] >= SHOWN_SPEED:
            arrow = marker("velocity", Marker.ARROW, color=solid)
            arrow.points = [_point(place), _point(place + snapshot.velocity[row])]
            arrow.scale = Vector3(x=0.15, y=0.4, z=0.0)
            markers.append(arrow)
        trail = trails.of(number)
        if len(trail) > 1:
            line = marker("trail", Marker.LINE_STRIP, color=solid)
            line.points = [_point(point) for point in trail]
            line.scale.x = 0.1
            markers.append(line)
    return MarkerArray(markers=markers)


def _poses(snapshot: Snapshot) -> list[Pose]:
    return [
        Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=a, y=b, z=c, w=d))
        for (x, y, z), (a, b, c, d) in zip(
            snapshot.position.tolist(), snapshot.quaternion.tolist(), strict=True
        )
    ]


def _point(place: Array) -> Point:
    x, y, z = place.tolist()
    return Point(x=x, y=y, z=z)
