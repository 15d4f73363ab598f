"""Detections as ROS messages."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from geometry_msgs.msg import Pose, PoseWithCovariance
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesisWithPose,
)

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import quaternions
from km3d_ros.inference.detections import SHAPES, Detections
from km3d_ros.msg import KeypointDetection, KeypointDetectionArray

UNKNOWN_ANGLE_VARIANCE = math.pi**2
"""Variance of rotations and rates of rotation that are not estimated, in rad² and rad²/s²."""

_SCALARS = [f.name for f in fields(Detections) if f.name not in {"class_index", *SHAPES}]
"""Fields of `Detections` and KeypointDetection that are one number."""


def detection_array(
    detections: Detections,
    class_names: Sequence[str],
    camera: CameraModel,
    header: Header,
    pool: list[Detection3D] | None = None,
) -> Detection3DArray:
    """The detections; `pool` as in `box_array`.

    The box frame is REP 103 body: x forward (length), y left (width), z up (height) along the
    vertical of the camera's level frame.
    """
    return box_array(
        header,
        [class_names[index] for index in detections.class_index.tolist()],
        detections.score,
        detections.center,
        quaternions(detections.yaw, camera.level),
        detections.size,
        pose_covariances(detections, camera),
        pool,
    )


def box_array(
    header: Header,
    class_ids: Sequence[str],
    score: np.ndarray,
    center: np.ndarray,
    quaternion: np.ndarray,
    size: np.ndarray,
    covariance: np.ndarray,
    pool: list[Detection3D] | None = None,
) -> Detection3DArray:
    """One Detection3D per object, each with exactly one hypothesis.

    score: (N,). center, size: (N, 3). quaternion: (N, 4) x, y, z, w. covariance: (N, 36).
    pool: messages of an earlier array, which are filled again because creating messages takes most
        of the time. The function extends it to the number of objects.
    """
    pool = [] if pool is None else pool
    pool.extend(_empty_detection() for _ in range(len(class_ids) - len(pool)))
    columns = (values.tolist() for values in (score, center, quaternion, size))
    for message, class_id, likelihood, place, turn, extent, spread in zip(
        pool, class_ids, *columns, covariance, strict=False
    ):
        message.header = header
        (result,) = message.results
        result.hypothesis.class_id, result.hypothesis.score = class_id, likelihood
        result.pose.covariance = spread
        set_pose(message.bbox.center, place, turn)
        message.bbox.size.x, message.bbox.size.y, message.bbox.size.z = extent
    return Detection3DArray(header=header, detections=pool[: len(class_ids)])


def set_pose(pose: Pose, place: Sequence[float], turn: Sequence[float]) -> None:
    """Set position and quaternion (x, y, z, w) of a message."""
    position, orientation = pose.position, pose.orientation
    position.x, position.y, position.z = place
    orientation.x, orientation.y, orientation.z, orientation.w = turn


def _empty_detection() -> Detection3D:
    """A detection with one hypothesis, whose pose is that of the box."""
    pose = Pose()
    result = ObjectHypothesisWithPose(pose=PoseWithCovariance(pose=pose))
    return Detection3D(results=[result], bbox=BoundingBox3D(center=pose))


def pose_covariances(detections: Detections, camera: CameraModel) -> np.ndarray:
    """(N, 36) float64: row-major 6x6 covariances of PoseWithCovariance, in the camera frame.

    In the level frame, roll and pitch of a box are unknown: they have the variance
    `UNKNOWN_ANGLE_VARIANCE`, so that the matrix can be inverted.
    """
    covariances = np.zeros((len(detections), 6, 6))
    covariances[:, [3, 5], [3, 5]] = UNKNOWN_ANGLE_VARIANCE
    covariances[:, 4, 4] = detections.covariance[:, 3, 3]
    covariances[:, 3:, 3:] = camera.level.T @ covariances[:, 3:, 3:] @ camera.level
    covariances[:, :3, :3] = detections.covariance[:, :3, :3]
    with_yaw = detections.covariance[:, :3, 3:] * camera.level[1]
    covariances[:, :3, 3:] = with_yaw
    covariances[:, 3:, :3] = with_yaw.transpose(0, 2, 1)
    return covariances.reshape(-1, 36)


def keypoint_array(
    detections: Detections, class_names: Sequence[str], camera: CameraModel, header: Header
) -> KeypointDetectionArray:
    """What the network saw of the detections, in their order, and K and level of the camera."""
    columns = {name: getattr(detections, name).tolist() for name in _SCALARS} | {
        "class_id": [class_names[index] for index in detections.class_index.tolist()],
        "box2d": detections.box2d,
        "keypoints": detections.keypoints.reshape(-1, 18),
    }
    return KeypointDetectionArray(
        header=header,
        k=camera.intrinsics.flatten(),
        level=camera.level.flatten(),
        objects=[
            KeypointDetection(**dict(zip(columns, row, strict=True)))
            for row in zip(*columns.values(), strict=True)
        ],
    )


def image_message(image: np.ndarray, header: Header) -> Image:
    """A bgr8 image message of a picture (height, width, 3) uint8."""
    height, width, _ = image.shape
    data = array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    return Image(
        header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data
    )
