"""The frames in the recording of a demo: images with their cameras and detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray

from km3d_ros.bag import read_bag
from km3d_ros.demo.topics import (
    CAMERA_INFO,
    DETECTIONS,
    IMAGE,
    MOUNT,
    OBJECTS,
    ODOMETRY,
    TRACKED_OBJECTS,
)
from km3d_ros.drawing.tracks import Track
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections, from_columns
from km3d_ros.msg import KeypointDetection, KeypointDetectionArray
from km3d_ros.node.track_messages import TRAIL
from km3d_ros.tracking.poses import parse_mount
from km3d_ros.tracking.reading import read_pose

TOPICS = (IMAGE, CAMERA_INFO, DETECTIONS, OBJECTS, ODOMETRY, TRACKED_OBJECTS)

# Rows of PoseWithCovariance that a box has: x, y, z and the rotation about the camera's y axis.
POSE_ROWS = np.ix_((0, 1, 2, 4), (0, 1, 2, 4))


@dataclass(frozen=True)
class Answer:
    """One answered frame; `stamp` in nanoseconds, `image` (H, W, 3) uint8 BGR.

    tracks: in the camera's optical frame; none if the tracker did not answer.
    """

    stamp: int
    image: np.ndarray
    camera: CameraModel
    detections: Detections
    tracks: Sequence[Track] = ()


def read_answers(path: Path, class_names: Sequence[str]) -> list[Answer]:
    """The answered frames of a recording in order of their stamps."""
    frames: dict[int, dict[str, object]] = {}
    for topic, message, _ in read_bag(path, TOPICS):
        frames.setdefault(stamp_of(message.header), {})[topic] = message
    answered = [(stamp, frame) for stamp, frame in sorted(frames.items()) if DETECTIONS in frame]
    tracks = _tracks([frame for _, frame in answered], class_names)
    return [
        Answer(
            stamp,
            _pixels(frame[IMAGE]),
            CameraModel.from_camera_info(frame[CAMERA_INFO], rectified=True),
            _detections(frame[DETECTIONS], frame[OBJECTS], class_names),
            of_frame,
        )
        for (stamp, frame), of_frame in zip(answered, tracks, strict=True)
    ]


def _tracks(
    frames: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Iterator[list[Track]]:
    """The tracked objects of every frame."""
    _, mount = parse_mount(MOUNT)
    trails: dict[int, list[tuple[float, np.ndarray]]] = {}
    for frame in frames:
        if TRACKED_OBJECTS not in frame or ODOMETRY not in frame:
            yield []
            continue
        message = frame[TRACKED_OBJECTS]
        now = stamp_of(message.header) / 1e9
        camera = read_pose(frame[ODOMETRY].pose.pose) @ mount
        tracks = []
        for entry in message.objects:
            trail = trails.setdefault(entry.id, [])
            trail.append((now, np.array(_vector(entry.pose.pose.position))))
            trail[:] = [item for item in trail if item[0] >= now - TRAIL]
            places = np.array([place for _, place in trail]) - camera.translation
            places = places @ camera.rotation
            velocity = np.array(_vector(entry.twist.twist.linear)) @ camera.rotation
            index = class_names.index(entry.classes[0].class_id)
            tracks.append(Track(entry.id, index, places[-1], velocity, entry.size.z, places))
        yield tracks


def stamp_of(header: Header) -> int:
    """The stamp in nanoseconds."""
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def _pixels(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def _vector(message: Point | Vector3) -> tuple[float, float, float]:
    return message.x, message.y, message.z


def _detections(
    found: Detection3DArray, objects: KeypointDetectionArray, class_names: Sequence[str]
) -> Detections:
    """The `Detections` that the messages of one frame were made from."""
    names = {item.name for item in fields(Detections)}
    names &= set(KeypointDetection.get_fields_and_field_types())
    boxes = [detection.bbox for detection in found.detections]
    covariances = [detection.results[0].pose.covariance for detection in found.detections]
    return from_columns(
        len(boxes),
        class_index=[class_names.index(entry.class_id) for entry in objects.objects],
        size=[_vector(box.size) for box in boxes],
        center=[_vector(box.center.position) for box in boxes],
        covariance=[np.reshape(values, (6, 6))[POSE_ROWS] for values in covariances],
        **{name: [getattr(entry, name) for entry in objects.objects] for name in names},
    )
