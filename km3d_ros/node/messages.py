"""Detections as ROS messages."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesisWithPose,
)

from km3d_ros.frames.drops import DropCause
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import quaternions
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import StageSeconds
from km3d_ros.msg import FrameTiming, KeypointDetection, KeypointDetectionArray

UNKNOWN_ANGLE_VARIANCE = math.pi**2
"""Variance of the rotations about the x and z axes of the level frame, in rad²."""

_SCALARS = (
    "score",
    "peak_score",
    "confidence",
    "depth_error",
    "alpha",
    "yaw",
    "reprojection_error",
)
"""Fields of `Detections` and KeypointDetection that are one number."""


def detection_array(
    detections: Detections,
    class_names: Sequence[str],
    camera: CameraModel,
    header: Header,
    pool: list[Detection3D] | None = None,
) -> Detection3DArray:
    """One Detection3D per object, each with exactly one hypothesis.

    The box frame is REP 103 body: x forward (length), y left (width), z up (height) along the
    vertical of the camera's level frame.

    pool: messages of an earlier array, which are filled again because creating messages takes most
        of the time. The function extends it to the number of objects.
    """
    pool = [] if pool is None else pool
    pool.extend(empty_detection() for _ in range(len(detections) - len(pool)))
    rows = zip(
        pool,
        detections.class_index.tolist(),
        detections.score.tolist(),
        detections.center.tolist(),
        quaternions(detections.yaw, camera.level).tolist(),
        detections.size.tolist(),
        pose_covariances(detections, camera),
        strict=False,
    )
    for message, index, score, center, turn, size, covariance in rows:
        message.header = header
        (result,) = message.results
        result.hypothesis.class_id = class_names[index]
        result.hypothesis.score = score
        result.pose.covariance = covariance
        pose, extent = message.bbox.center, message.bbox.size
        pose.position.x, pose.position.y, pose.position.z = center
        turned = pose.orientation
        turned.x, turned.y, turned.z, turned.w = turn
        extent.x, extent.y, extent.z = size
    return Detection3DArray(header=header, detections=pool[: len(detections)])


def empty_detection() -> Detection3D:
    """A detection with one hypothesis, whose pose is that of the box."""
    pose = Pose()
    result = ObjectHypothesisWithPose(pose=PoseWithCovariance(pose=pose))
    return Detection3D(results=[result], bbox=BoundingBox3D(center=pose))


def poses(detections: Detections, camera: CameraModel) -> list[Pose]:
    """The box frame of every object in the camera's optical frame."""
    centers = detections.center.tolist()
    turns = quaternions(detections.yaw, camera.level).tolist()
    return [
        Pose(
            position=Point(x=x, y=y, z=z),
            orientation=Quaternion(x=qx, y=qy, z=qz, w=qw),
        )
        for (x, y, z), (qx, qy, qz, qw) in zip(centers, turns, strict=True)
    ]


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
    """Keypoints, 2D boxes and scores of the detections, in their order, and K and the level of the
    camera."""
    scalars = zip(*(getattr(detections, name).tolist() for name in _SCALARS), strict=True)
    rows = zip(
        detections.class_index.tolist(),
        detections.box2d,
        detections.keypoints.reshape(-1, 18),
        scalars,
        strict=True,
    )
    message = KeypointDetectionArray(
        header=header, k=camera.intrinsics.flatten(), level=camera.level.flatten()
    )
    message.objects = [
        KeypointDetection(
            class_id=class_names[index],
            box2d=box2d,
            keypoints=keypoints,
            **dict(zip(_SCALARS, numbers, strict=True)),
        )
        for index, box2d, keypoints, numbers in rows
    ]
    return message


def image_message(image: np.ndarray, header: Header) -> Image:
    """A bgr8 image message of a picture (height, width, 3) uint8."""
    height, width, _ = image.shape
    data = array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    return Image(
        header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data
    )


def frame_timing(
    header: Header,
    stages: StageSeconds,
    wait: float,
    publish: float,
    total: float,
    drops: Mapping[DropCause, int],
) -> FrameTiming:
    """Durations of the stages of a frame in seconds, and drops by cause since the last message."""
    return FrameTiming(
        header=header,
        wait=wait,
        preprocess=stages.preprocess,
        network=stages.network,
        decode=stages.decode,
        publish=publish,
        total=total,
        drop_causes=[cause.value for cause in drops],
        drop_counts=list(drops.values()),
    )
