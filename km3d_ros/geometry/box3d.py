"""Oriented 3D boxes: corners, angles and overlap (docs/design.md, Conventions)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Boxes3D:
    """Upright boxes in an optical frame (x right, y down, z forward).

    center: (..., 3) geometric centre in metres.
    size: (..., 3) length, width, height in metres.
    yaw: (...) rotation about the y axis in radians; 0 faces +x, -pi/2 faces +z.
    """

    center: Tensor
    size: Tensor
    yaw: Tensor


def corner_offsets(size: Tensor, yaw: Tensor) -> Tensor:
    """Corners relative to the centre, (..., 8, 3): 0..3 at the bottom, 4..7 above them.

    Args:
        size: (..., 3) length, width, height in metres.
        yaw: (...) radians.

    >>> corner_offsets(torch.tensor([4.0, 2.0, 1.0]), torch.tensor(0.0))[:4].tolist()
    [[2.0, 0.5, 1.0], [2.0, 0.5, -1.0], [-2.0, 0.5, -1.0], [-2.0, 0.5, 1.0]]
    """
    length, width, height = (size / 2).unbind(-1)
    cosine, sine = torch.cos(yaw), torch.sin(yaw)
    length_x, length_z = length * cosine, -length * sine
    width_x, width_z = width * sine, width * cosine
    x = _around(length_x, width_x)
    z = _around(length_z, width_z)
    y = height[..., None].expand_as(x)
    bottom = torch.stack((x, y, z), dim=-1)
    top = torch.stack((x, -y, z), dim=-1)
    return torch.cat((bottom, top), dim=-2)


def keypoint_offsets(size: Tensor, yaw: Tensor) -> Tensor:
    """The eight corners and the centre relative to the centre, (..., 9, 3)."""
    corners = corner_offsets(size, yaw)
    return torch.cat((corners, torch.zeros_like(corners[..., :1, :])), dim=-2)


def keypoints(boxes: Boxes3D) -> Tensor:
    """The eight corners and the centre, (..., 9, 3), in the frame of the boxes."""
    return boxes.center[..., None, :] + keypoint_offsets(boxes.size, boxes.yaw)


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap an angle to [-pi, pi).

    >>> wrap_angle(torch.tensor([3.0, math.pi, 6.0])).tolist()
    [3.0, -3.1415927410125732, -0.2831854820251465]
    """
    wrapped = angle - 2 * math.pi * torch.floor((angle + math.pi) / (2 * math.pi))
    return torch.where(wrapped < math.pi, wrapped, -math.pi)


def observation_angle(yaw: Tensor, ray_x: Tensor) -> Tensor:
    """Alpha in [-pi, pi): the yaw relative to a viewing ray with slope `ray_x` = x/z.

    >>> observation_angle(torch.tensor(0.5), torch.tensor(1.0)).item()
    -0.2853981852531433
    """
    return wrap_angle(yaw - torch.atan(ray_x))


def yaw_from_observation(alpha: Tensor, ray_x: Tensor) -> Tensor:
    """Yaw in [-pi, pi) of an object with angle `alpha` on a ray with slope `ray_x` = x/z."""
    return wrap_angle(alpha + torch.atan(ray_x))


def bev_iou(a: Boxes3D, b: Boxes3D) -> Tensor:
    """Intersection over union in the bird's-eye view, elementwise with broadcasting.

    Boxes of shapes (N, 1, ...) and (1, M, ...) give the (N, M) table of all pairs.
    """
    overlap = _ground_overlap(a, b)
    area_a, area_b = _ground_area(a), _ground_area(b)
    return _ratio(overlap, area_a + area_b - overlap)


def tolerant_iou(first: Boxes3D, second: Boxes3D) -> Tensor:
    """`volume_iou` (...) of both boxes enlarged to twice their size.

    An error of one metre leaves a car's box with a high IoU, but a pedestrian's box with an IoU
    of 0, which carries no information about the error. At twice the size, small boxes overlap as
    well, and the IoU falls as the error grows.
    """
    return volume_iou(*(replace(boxes, size=2 * boxes.size) for boxes in (first, second)))


def volume_iou(a: Boxes3D, b: Boxes3D) -> Tensor:
    """Intersection over union of the volumes, elementwise with broadcasting."""
    height_a, height_b = a.size[..., 2], b.size[..., 2]
    upper = torch.maximum(a.center[..., 1] - height_a / 2, b.center[..., 1] - height_b / 2)
    lower = torch.minimum(a.center[..., 1] + height_a / 2, b.center[..., 1] + height_b / 2)
    overlap = _ground_overlap(a, b) * (lower - upper).clamp(min=0)
    volume_a, volume_b = _ground_area(a) * height_a, _ground_area(b) * height_b
    return _ratio(overlap, volume_a + volume_b - overlap)


def _around(along: Tensor, across: Tensor) -> Tensor:
    """Four corners (..., 4) of a parallelogram from its two half sides."""
    return torch.stack((along + across, along - across, -along - across, -along + across), dim=-1)


def _ground_area(boxes: Boxes3D) -> Tensor:
    return boxes.size[..., 0] * boxes.size[..., 1]


def _ratio(overlap: Tensor, union: Tensor) -> Tensor:
    return torch.where(union > 0, overlap / torch.where(union > 0, union, 1), 0)


def _ground_overlap(a: Boxes3D, b: Boxes3D) -> Tensor:
    """Area of the intersection of the ground rectangles.

    The intersection is convex. Its vertices are among 24 points: the corners of each rectangle
    that are inside the other, and the crossings of their sides. Sorting the vertices by angle
    around their mean gives the outline. Each point that is not a vertex is first moved onto a
    vertex, which does not change the area.
    """
    shift = (b.center - a.center)[..., 0::2]
    corners_a = corner_offsets(a.size, a.yaw)[..., :4, 0::2]
    corners_b = corner_offsets(b.size, b.yaw)[..., :4, 0::2] + shift[..., None, :]
    shape = torch.broadcast_shapes(corners_a.shape, corners_b.shape)
    corners_a, corners_b = corners_a.expand(shape), corners_b.expand(shape)
    tolerance = 32 * torch.finfo(shift.dtype).eps
    crossings, crossed = _crossings(corners_a, corners_b, tolerance)
    points = torch.cat((corners_a, corners_b, crossings), dim=-2)
    valid = torch.cat(
        (
            _inside(corners_a - shift[..., None, :], b, tolerance),
            _inside(corners_b, a, tolerance),
            crossed,
        ),
        dim=-1,
    )
    return _convex_area(points, valid)


def _inside(points: Tensor, box: Boxes3D, tolerance: float) -> Tensor:
    """Whether ground points (..., P, 2), relative to the box centre, lie in the rectangle."""
    x, z = points.unbind(-1)
    cosine, sine = torch.cos(box.yaw)[..., None], torch.sin(box.yaw)[..., None]
    half = box.size[..., :2, None] / 2
    slack = tolerance * half.amax(-2)
    along, across = x * cosine - z * sine, x * sine + z * cosine
    return (along.abs() <= half[..., 0, :] + slack) & (across.abs() <= half[..., 1, :] + slack)


def _crossings(a: Tensor, b: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Crossings (..., 16, 2) of the sides of two rectangles (..., 4, 2), and which ones exist."""
    start_a, start_b = a[..., :, None, :], b[..., None, :, :]
    side_a = (a.roll(-1, -2) - a)[..., :, None, :]
    side_b = (b.roll(-1, -2) - b)[..., None, :, :]
    turn = _cross(side_a, side_b)
    crossing = turn.abs() > 0
    turn = torch.where(crossing, turn, 1)
    along_a = _cross(start_b - start_a, side_b) / turn
    along_b = _cross(start_b - start_a, side_a) / turn
    for along in (along_a, along_b):
        crossing = crossing & (along >= -tolerance) & (along <= 1 + tolerance)
    points = start_a + along_a[..., None] * side_a
    return points.flatten(-3, -2), crossing.flatten(-2)


def _convex_area(points: Tensor, valid: Tensor) -> Tensor:
    """Area of the convex polygon whose vertices are the valid points of (..., P, 2)."""
    some_vertex = valid.to(torch.uint8).argmax(-1)[..., None, None].expand(*valid.shape[:-1], 1, 2)
    points = torch.where(valid[..., None], points, points.gather(-2, some_vertex))
    points = points - points.mean(-2, keepdim=True)
    order = torch.atan2(points[..., 1], points[..., 0]).argsort(-1)
    outline = points.gather(-2, order[..., None].expand_as(points))
    return _cross(outline, outline.roll(-1, -2)).sum(-1).abs() / 2


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
