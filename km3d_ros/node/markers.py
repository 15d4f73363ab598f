"""Detections as RViz markers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from km3d_ros.drawing.shapes import color_of
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import quaternions
from km3d_ros.inference.detections import Detections

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

    The colour shows the class (`drawing.shapes.color_of`), the opacity shows the score. The
    heading is an arrow from the centre out of the front.

    lifetime: seconds after which RViz removes a marker if no newer array arrives.
    """
    kept = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
    box, heading, label = (
        Marker(header=header, ns=name, type=kind, lifetime=kept)
        for name, kind in (
            ("box", Marker.CUBE),
            ("heading", Marker.ARROW),
            ("label", Marker.TEXT_VIEW_FACING),
        )
    )
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    rows = zip(
        range(len(detections)),
        detections.class_index.tolist(),
        detections.score.tolist(),
        detections.center.tolist(),
        quaternions(detections.yaw, camera.level).tolist(),
        detections.size.tolist(),
        np.linalg.norm(detections.center, axis=1).tolist(),
        strict=True,
    )
    up_x, up_y, up_z = (-camera.level[1]).tolist()
    for number, index, score, (x, y, z), turn, (length, width, height), distance in rows:
        pose = Pose(position=Point(x=x, y=y, z=z))
        pose.orientation = Quaternion(**dict(zip("xyzw", turn, strict=True)))
        blue, green, red = (value / 255 for value in color_of(index))
        color = ColorRGBA(r=red, g=green, b=blue, a=0.2 + 0.7 * score)
        above = height / 2 + LABEL_ABOVE_BOX
        top = Point(x=x + up_x * above, y=y + up_y * above, z=z + up_z * above)
        size = Vector3(x=length, y=width, z=height)
        arrow = Vector3(x=length / 2 + HEADING_BEYOND_BOX, y=HEADING_WIDTH, z=HEADING_WIDTH)
        text = f"{class_names[index]} {score:.2f}  {distance:.1f} m"
        letters = {"color": WHITE, "scale": Vector3(z=LABEL_HEIGHT), "text": text}
        markers += (
            _copy(box, id=number, pose=pose, color=color, scale=size),
            _copy(heading, id=number, pose=pose, color=color, scale=arrow),
            _copy(label, id=number, pose=Pose(position=top), **letters),
        )
    return MarkerArray(markers=markers)


def _copy(template: Marker, **values: Any) -> Marker:
    """A copy with other values, at a quarter of the cost of a new Marker."""
    marker = copy(template)
    for name, value in values.items():
        setattr(marker, name, value)
    return marker
