"""How far keypoints spread, taught by 2D boxes.

A 2D box frames the silhouette of an object. The predicted keypoints are the corners of a cuboid,
and a few fixed points of that cuboid span the silhouette. The keypoints are stretched and shifted
until the silhouette fits the box. The result is their target: its shape is the network's own, its
extent is the box's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from km3d_ros.training.box_targets import BoxTargets

OUTERMOST = {
    "Car": (
        *((0.32 * end, 0.5 * side, 0.0) for end in (1, -1) for side in (1, -1)),  # wheels
        *((0.5 * end, 0.4 * side, 0.4) for end in (1, -1) for side in (1, -1)),  # bumpers
        *((0.4 * end, 0.5 * side, 0.4) for end in (1, -1) for side in (1, -1)),  # flanks
        *((0.05 * end, 0.29 * side, 1.0) for end in (1, -1) for side in (1, -1)),  # roof
    ),
    "Pedestrian": (
        *((0.5 * end, 0.25 * side, 0.0) for end in (1, -1) for side in (1, -1)),  # feet
        *((0.11 * end, 0.5 * side, 0.4) for end in (1, -1) for side in (1, -1)),  # arms
        (0.0, 0.0, 1.0),  # head
    ),
    "Cyclist": (
        *((0.5, 0.05 * side, 0.15) for side in (1, -1)),  # front wheel
        *((-0.5, 0.05 * side, 0.3) for side in (1, -1)),  # rear wheel
        *((0.34, 0.4 * side, 0.0) for side in (1, -1)),  # the road in front of the feet
        *((-0.38, 0.2 * side, 0.0) for side in (1, -1)),  # the road behind them
        *((0.22, 0.5 * side, 0.35) for side in (1, -1)),  # knees and handlebar
        *((0.1, 0.5 * side, 0.8) for side in (1, -1)),  # elbows and shoulders
        *((0.06, 0.05 * side, 1.0) for side in (1, -1)),  # head
    ),
}
"""Points of the 3D box whose projections span the silhouette, in parts of length (forward), width
(left) and height (up) from the centre of the bottom. The median error of their extent, by view and
distance, is at most 1 % of the height and 2 % of the width (docs/experiments.md).
Classes that are not listed use the corners of the box."""
STRETCH = (0.5, 2.0)
"""Limits of the stretch in one step."""
LARGE = 16.0
"""Height in cells. Errors of higher boxes count relative to their height."""
LEAST_ERROR = 0.05
"""Cells; smaller errors cost their square."""
LEAST_HEIGHT = 0.1
"""Cells. Lower heights count as this height."""


def extent_loss(offsets: Tensor, targets: BoxTargets, classes: Sequence[str]) -> Tensor:
    """Distance of the predicted keypoints to the same ones fitted into the boxes, summed over M.

    Along each axis, squared errors relative to the largest one: the gradients are proportional to
    the errors, so that the keypoints keep their shape on the way. Those of an L1 are all alike.

    offsets: (M, 9, 2) keypoints relative to the peak, in cells.
    """
    outermost = outermost_points(offsets.detach()[:, :8], targets.class_index, classes)
    target, taught = fitted(offsets.detach(), outermost, targets.edges, targets.own)
    error = torch.where(taught[:, None], offsets - target, 0)
    largest = error.detach().abs().amax(1, keepdim=True).clamp(min=LEAST_ERROR)
    error = (error.square() / largest).sum(-1).mean(-1)
    height = targets.box_size[:, 1].clamp(min=LARGE)
    return (error * (LARGE / height)).sum()


def outermost_points(corners: Tensor, class_index: Tensor, classes: Sequence[str]) -> Tensor:
    """The projections (M, N, 2) of the `OUTERMOST` points of M boxes.

    corners: (M, 8, 2) projected corners. In homogeneous coordinates a point of the box is the
    same mean of the corners as in space; an upright edge appears the shorter the further it is.
    """
    weights = corners.new_tensor(_corner_weights(tuple(classes)))[class_index]
    height = (corners[:, :4, 1] - corners[:, 4:, 1]).clamp(min=LEAST_HEIGHT)
    homogeneous = weights / torch.cat((height, height), dim=1)[:, None]
    return homogeneous @ corners / homogeneous.sum(-1, keepdim=True)


def fitted(
    offsets: Tensor, outermost: Tensor, edges: Tensor, own: Tensor
) -> tuple[Tensor, Tensor]:
    """Keypoints stretched and shifted, so that the outermost points end at the edges of boxes.

    An axis with both edges fits both. One with a single own edge takes the stretch of the other
    axis and fits that edge; without such a stretch, or without an own edge, it is left alone.

    offsets: (M, 9, 2); outermost: (M, N, 2); edges, own: (M, 4) as of `BoxTargets`.
    Returns (M, 9, 2), and (M, 2) bool: the axes along which they were fitted.
    """
    low, high = outermost.amin(1), outermost.amax(1)
    near, far = edges[:, :2], edges[:, 2:]
    own_near, own_far = own[:, :2], own[:, 2:]
    both = own_near & own_far
    stretch = ((far - near) / (high - low).clamp(min=1e-3)).clamp(*STRETCH)
    stretch = torch.where(both, stretch, stretch.flip(-1))
    middle = ((near + far) - stretch * (low + high)) / 2
    shift = torch.where(own_near, near - stretch * low, far - stretch * high)
    shift = torch.where(both, middle, shift)
    taught = both | (both.flip(-1) & (own_near | own_far))
    return stretch[:, None] * offsets + shift[:, None], taught


@cache
def _corner_weights(classes: tuple[str, ...]) -> list[list[list[float]]]:
    """(classes, N, 8) parts of the corners in each outermost point; lists repeat their last."""
    signs = torch.tensor([(1, 1), (1, -1), (-1, -1), (-1, 1)] * 2)
    up = torch.tensor([0.0] * 4 + [1.0] * 4)
    corners = [
        (0.5 * x, 0.5 * y, z) for (x, y), z in zip(signs.tolist(), up.tolist(), strict=True)
    ]
    points = [list(OUTERMOST.get(name, corners)) for name in classes]
    most = max(map(len, points))
    table = torch.tensor([row + row[-1:] * (most - len(row)) for row in points])
    along = 0.5 + table[..., None, :2] * signs
    upright = torch.where(up > 0, table[..., 2:], 1 - table[..., 2:])
    return (along.prod(-1) * upright).tolist()
