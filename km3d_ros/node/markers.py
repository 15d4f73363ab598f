"""Detections as RViz markers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from km3d_ros.drawing.shapes import color_of
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.node.messages import poses

HEADING_BEYOND_BOX = 1.0
HEADING_WIDTH = 0.2
LABEL_ABOVE_BOX = 0.5
LABEL_HEIGHT = 0.6
WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def marker_array(
    detections: Detections,
    class_names: Sequence[str],
    camera: CameraModel,
    header: Header,
    lifetime: float,
) -> MarkerArray:
    """Box, heading and label of every object, after a marker that deletes the previous ones.

    The colour shows the class (`drawing.shapes.color_of`), the opacity shows the score.

    Args:
        detections: the objects.
        camera: the camera that saw them.
        class_names: names by class index.
        header: of the image.
        lifetime: seconds after which RViz removes a marker if no newer array arrives.
    """
    # A copy costs a quarter of a new Marker.
    box, heading, label = (
        Marker(header=header, ns=name, type=kind, lifetime=_duration(lifetime))
        for name, kind in (
            ("box", Marker.CUBE),
            ("heading", Marker.ARROW),
            ("label", Marker.TEXT_VIEW_FACING),
        )
    )
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    rows = zip(
        detections.class_index.tolist(),
        detections.score.tolist(),
        poses(detections, camera),
        detections.size.tolist(),
        np.linalg.norm(detections.center, axis=1).tolist(),
        strict=True,
    )
    up = -camera.level[1]
    for number, (index, score, pose, size, distance) in enumerate(rows):
        color = _color(index, opacity=score)
        text = f"{class_names[index]} {score:.2f}  {distance:.1f} m"
        markers += (
            _box(copy(box), number, pose, size, color),
            _heading(copy(heading), number, pose, size, color),
            _label(copy(label), number, pose, size, up, text),
        )
    return MarkerArray(markers=markers)


def _box(
    marker: Marker, number: int, pose: Pose, size: Sequence[float], color: ColorRGBA
) -> Marker:
    marker.id, marker.pose, marker.color = number, pose, color
    marker.scale = Vector3(x=size[0], y=size[1], z=size[2])
    return marker


def _heading(
    marker: Marker, number: int, pose: Pose, size: Sequence[float], color: ColorRGBA
) -> Marker:
    """An arrow from the centre along the box's x axis, out of its front."""
    marker.id, marker.pose, marker.color = number, pose, color
    length = size[0] / 2 + HEADING_BEYOND_BOX
    marker.scale = Vector3(x=length, y=HEADING_WIDTH, z=HEADING_WIDTH)
    return marker


def _label(
    marker: Marker, number: int, pose: Pose, size: Sequence[float], up: np.ndarray, text: str
) -> Marker:
    center, (x, y, z) = pose.position, (up * (size[2] / 2 + LABEL_ABOVE_BOX)).tolist()
    above = Point(x=center.x + x, y=center.y + y, z=center.z + z)
    marker.id, marker.pose, marker.color = number, Pose(position=above), WHITE
    marker.scale, marker.text = Vector3(z=LABEL_HEIGHT), text
    return marker


def _color(class_index: int, opacity: float) -> ColorRGBA:
    blue, green, red = (value / 255 for value in color_of(class_index))
    return ColorRGBA(r=red, g=green, b=blue, a=0.2 + 0.7 * opacity)


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(sec=whole, nanosec=int((seconds - whole) * 1e9))
