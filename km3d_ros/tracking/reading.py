"""ROS messages to arrays and poses for the tracker; without rclpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.geometry.pose import Pose
from km3d_ros.tracking.measurements import Boxes

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from geometry_msgs.msg import Pose as PoseMessage
    from vision_msgs.msg import Detection3DArray


def seconds(stamp: Time) -> float:
    """A stamp in seconds; doubles resolve 0.2 µs of today's stamps."""
    return stamp.sec + 1e-9 * stamp.nanosec


def read_boxes(message: Detection3DArray) -> Boxes:
    """The detections of a message: boxes, and score, class and covariance of the best hypothesis.

    A detection without a hypothesis gets the class "" and the score NaN. `level_measurements`
    rejects it.
    """
    rows, names, scores, covariances = [], [], [], []
    for detection in message.detections:
        center, size = detection.bbox.center, detection.bbox.size
        p, q = center.position, center.orientation
        rows.append((p.x, p.y, p.z, q.x, q.y, q.z, q.w, size.x, size.y, size.z))
        results = detection.results
        if not results:
            names.append("")
            scores.append(np.nan)
            covariances.append(np.zeros(36))
            continue
        best = results[0]
        for other in results[1:]:
            if other.hypothesis.score > best.hypothesis.score:
                best = other
        names.append(best.hypothesis.class_id)
        scores.append(best.hypothesis.score)
        covariances.append(best.pose.covariance)
    table = np.array(rows, float).reshape(-1, 10)
    return Boxes(
        names,
        np.array(scores, float),
        table[:, :3],
        table[:, 3:7],
        table[:, 7:],
        np.array(covariances, float).reshape(-1, 6, 6),
    )


def read_pose(message: PoseMessage) -> Pose:
    """The pose of a message.

    Raises:
        InputError: it is not finite, or its quaternion is no rotation.
    """
    q, p = message.orientation, message.position
    return Pose.of((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))
