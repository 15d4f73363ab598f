"""Consensus losses of two views of one unlabelled image (KM3D-Net, arXiv 2009.00764, section 3.5).

The views have different affines and drop different keypoints. For an object that both views see,
the size, yaw and position in the frame of the one camera must be equal.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets, yaw_from_observation
from km3d_ros.geometry.pinhole import unproject
from km3d_ros.inference.decode import Peaks, decode, find_peaks
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import STRIDE, ModelSpec
from km3d_ros.training import processes
from km3d_ros.training.dataset import Pairs
from km3d_ros.training.losses import PLAUSIBLE_POSITION, POSITION_TOLERANCE
from km3d_ros.training.targets import joined

BELIEVED = 0.2
"""A peak whose probability exceeds this in both views counts as an object."""
SIZE_SPREAD = 0.1
"""Relative difference of sizes that has a loss of 1."""
SMALLEST_SIDE = 0.1
"""Metres. Weights that predict sizes in metres may give smaller or negative ones."""
HEADS = ("hps", "dim", "rot", "prob")


def consensus_losses(
    model: KM3DNet, features: Tensor, heatmap: Tensor, pairs: Pairs, spec: ModelSpec
) -> dict[str, Tensor]:
    """Losses for the disagreement of the views.

    features: (2P, C, h, w), heatmap: (2P, classes, h, w) logits, of `pairs.images`.

    Returns:
        "consensus_size", "consensus_yaw" and "consensus_position": means over the objects that
        both views see, weighted by their probability. "consensus_peak": mean over the objects
        that at least one view sees.
    """
    first, second = corresponding_peaks(heatmap.detach(), pairs)
    size, yaw, center = _boxes(model, features, joined((first, second)), pairs, spec)
    count = len(pairs.images) // 2
    believed = torch.minimum(first.score, second.score)
    believed = torch.where(believed > BELIEVED, believed, 0)
    relative = size.clamp(min=SMALLEST_SIDE).log()
    disagreement = {
        "consensus_size": (relative[:count] - relative[count:]).abs().mean(-1) / SIZE_SPREAD,
        "consensus_yaw": 1 - torch.cos(yaw[:count] - yaw[count:]),
        "consensus_position": _position_disagreement(center[:count], center[count:]),
    }
    total = processes.divisor(believed.sum())
    losses = {name: (value * believed).sum() / total for name, value in disagreement.items()}
    return losses | {"consensus_peak": _peak_disagreement(heatmap, first, second)}


def corresponding_peaks(heatmap: Tensor, pairs: Pairs) -> tuple[Peaks, Peaks]:
    """The K best peaks of the first views, and the corresponding cells of the second views.

    The affines give the position of a peak in the second view. Of the 3×3 cells there, the one
    with the highest score of the class corresponds. Outside the view the score is 0.
    """
    count = len(heatmap) // 2
    peaks = find_peaks(heatmap[:count], pairs.kept.shape[1])
    to_second = _inverse(pairs.to_original[count:])
    # The box centre of a peak lies anywhere in its cell, on average in the middle.
    middles = torch.stack((peaks.x, peaks.y), dim=-1) + 0.5
    middles = _apply(to_second, _apply(pairs.to_original[:count], middles))
    near = torch.arange(-1, 2, device=middles.device)
    near = torch.stack(torch.meshgrid(near, near, indexing="xy"), dim=-1).flatten(0, 1)
    around = middles.floor().long()[..., None, :] + near
    height, width = heatmap.shape[-2:]
    inside = ((around >= 0) & (around < around.new_tensor((width, height)))).all(-1)
    x = around[..., 0].clamp(0, width - 1)
    y = around[..., 1].clamp(0, height - 1)
    batch = torch.arange(count, device=middles.device)[:, None, None]
    scores = heatmap[count:].float().sigmoid()[batch, peaks.class_index[..., None], y, x]
    score, best = torch.where(inside, scores, 0).max(-1, keepdim=True)
    x, y = (values.gather(-1, best).squeeze(-1) for values in (x, y))
    return peaks, replace(peaks, score=score.squeeze(-1), x=x, y=y)


def _peak_disagreement(heatmap: Tensor, first: Peaks, second: Peaks) -> Tensor:
    """Mean squared difference of peak probabilities, where at least one view has a peak.

    Without this loss unlabelled images teach geometry only, and with few labels AP 2D fell.
    """
    count = len(heatmap) // 2
    batch = torch.arange(count, device=heatmap.device)[:, None]
    one, other = (
        logits[batch, peaks.class_index, peaks.y, peaks.x].sigmoid()
        for logits, peaks in ((heatmap[:count], first), (heatmap[count:], second))
    )
    in_both = second.score > 0
    compared = in_both & (torch.maximum(first.score, second.score) > BELIEVED)
    weight = compared.to(one.dtype)
    return ((one - other).square() * weight).sum() / processes.divisor(weight.sum())


def _position_disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Huber loss (P, K) of the difference of centres (P, K, 3) relative to their distance.

    Centres that are not finite or too far apart have zero loss and zero gradient.
    """
    distance = ((first + second) / 2)[..., 2:].detach()
    moved = first - second
    plausible = (moved.detach().abs() < PLAUSIBLE_POSITION * distance).all(-1, keepdim=True)
    # A zero gradient divided by a distance that is not finite would be NaN in the other view.
    moved = torch.where(plausible, moved, 0) / torch.where(plausible, distance, 1)
    return F.smooth_l1_loss(
        moved, torch.zeros_like(moved), reduction="none", beta=POSITION_TOLERANCE
    ).sum(-1)


def _boxes(
    model: KM3DNet, features: Tensor, peaks: Peaks, pairs: Pairs, spec: ModelSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Size (2P, K, 3), yaw (2P, K) and centre (2P, K, 3), not mirrored, in the frame of K."""
    batch = torch.arange(len(features), device=features.device)[:, None].expand_as(peaks.x)
    heads = model.regress(features, batch.flatten(), peaks.x.flatten(), peaks.y.flatten(), HEADS)
    heads = {name: values.unflatten(0, peaks.x.shape) for name, values in heads.items()}
    objects = decode(peaks, heads, spec)
    pixels = _apply(pairs.to_image[:, None], objects.keypoints / STRIDE)
    rays = unproject(pixels, pairs.intrinsics[:, None, None])
    yaw = yaw_from_observation(objects.alpha, rays[..., 8, 0])
    offsets = keypoint_offsets(objects.size, yaw)
    center = grm.solve(rays, offsets, pairs.kept.to(rays.dtype))
    mirrored = pairs.mirrored[:, None]
    x, y, z = center.unbind(-1)
    center = torch.stack((torch.where(mirrored, -x, x), y, z), dim=-1)
    return objects.size, torch.where(mirrored, math.pi - yaw, yaw), center


def _apply(affine: Tensor, points: Tensor) -> Tensor:
    """(..., 2, 3) affines on (..., N, 2) points."""
    return points.to(affine) @ affine[..., :2].mT + affine[..., None, :, 2]


def _inverse(affine: Tensor) -> Tensor:
    """The inverse (..., 2, 3) of affines that scale and shift each axis."""
    scale = affine[..., :2].diagonal(dim1=-2, dim2=-1)
    return torch.cat((torch.diag_embed(1 / scale), (-affine[..., 2] / scale)[..., None]), dim=-1)
