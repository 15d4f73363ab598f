"""Painter's order of upright objects from their footprints on the ground."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def painters_order(boxes: Array) -> list[int]:
    """Indices of boxes from back to front, as seen from the origin.

    Two disjoint rectangles are separated by the line through one of their eight sides. The
    rectangle on the camera's side of that line is in front.

    boxes: (N, 5) rectangles in the camera's ground plane: x, z, half extents along and across,
        yaw; metres and radians.
    """
    count = len(boxes)
    if count < 2:
        return list(range(count))
    center, half, yaw = boxes[:, :2], boxes[:, 2:4], boxes[:, 4]
    c, s = np.cos(yaw), np.sin(yaw)
    along, across = np.stack([c, -s], 1), np.stack([s, c], 1)
    axes = np.stack([along, -along, across, -across], axis=1)
    reach = np.concatenate([half[:, :1]] * 2 + [half[:, 1:]] * 2, axis=1)
    before = _behind(center, half, along, across, axes, reach)
    distance = np.linalg.norm(center, axis=1)
    return _topological(before, distance)


def _behind(center, half, along, across, axes, reach) -> Array:
    """(N, N) bool: [i, j] is true if box i must be painted before box j."""
    # Distance of box j beyond side p of box i: that of its centre minus its own half extent.
    offset = np.einsum("ipd,jd->ipj", axes, center)
    offset -= np.einsum("ipd,id->ip", axes, center)[..., None] + reach[..., None]
    extent = np.abs(np.einsum("ipd,jd->ipj", axes, along)) * half[None, None, :, 0]
    extent += np.abs(np.einsum("ipd,jd->ipj", axes, across)) * half[None, None, :, 1]
    beyond = offset - extent > -0.02
    camera = -np.einsum("ipd,id->ip", axes, center) - reach > 0
    hidden_by = (beyond & ~camera[..., None]).any(1)
    hides = (beyond & camera[..., None]).any(1)
    # hidden_by[i, j]: j lies behind i; hides[i, j]: j lies in front of i.
    first = hidden_by.T | hides
    first &= ~first.T
    return first & _bearings_overlap(center, half, along, across)


def _bearings_overlap(center, half, along, across) -> Array:
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    spans = signs[None] * half[:, None]
    corners = center[:, None] + spans[..., :1] * along[:, None] + spans[..., 1:] * across[:, None]
    bearing = np.arctan2(corners[..., 0], corners[..., 1])
    low, high = bearing.min(1), bearing.max(1)
    wraps = high - low > np.pi
    low, high = np.where(wraps, -np.pi, low), np.where(wraps, np.pi, high)
    return (low[:, None] < high[None]) & (low[None] < high[:, None])


def _topological(before: Array, distance: Array) -> list[int]:
    waiting = before.sum(0)
    key = distance.copy()
    order = []
    for _ in range(len(key)):
        ready = np.where(waiting == 0, key, -1.0)
        pick = int(ready.argmax())
        if ready[pick] < 0:
            pick = int(key.argmax())
        order.append(pick)
        key[pick] = -1.0
        waiting = waiting - before[pick]
    return order
