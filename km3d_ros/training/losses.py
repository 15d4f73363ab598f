"""The losses of KM3D-Net (arXiv 2009.00764, section 3) on the heads at the objects' cells.

Errors of size and position are relative (to the spread of sizes, to the distance), so that one
weight fits all classes and distances. The paper measures them in metres, so its weights differ.
`objective` has the losses of images with 2D boxes only, and `extent_loss` their keypoint loss.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import (
    Boxes3D,
    keypoint_offsets,
    observation_angle,
    tolerant_iou,
    wrap_angle,
    yaw_from_observation,
)
from km3d_ros.geometry.pinhole import unproject
from km3d_ros.inference.decode import BIN_CENTERS, decode_size
from km3d_ros.network.spec import TYPICAL_DEPTH_ERROR, ModelSpec
from km3d_ros.training.targets import ObjectTargets

WEIGHTS = {
    "hm": 1.0,
    "hps": 1.0,
    "dim": 4.0,
    "rot": 0.2,
    "prob": 1.0,
    "wh": 0.02,
    "reg": 0.2,
    "hm_hp": 0.2,
    "hp_offset": 0.2,
    "depth_error": 1.0,
}
"""Weights of the losses by head. `Method` has the weight of the position loss."""
BIN_OVERLAP = math.pi / 6
"""Overlap of a bin with the other one, on each side."""
PLAUSIBLE_POSITION = 0.5
"""Positions with a larger relative error have no loss; the keypoint loss corrects them."""
POSITION_TOLERANCE = 0.02
"""Relative position error up to which the position loss is quadratic."""


def focal_loss(logits: Tensor, heatmap: Tensor, care: Tensor) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, arXiv 1808.01244, equation 1), summed over cells.

    logits, heatmap: (B, C, h, w); care: (B, C, h, w) bool, false where no peak is wrong.
    """
    probability = logits.sigmoid()
    missed = F.logsigmoid(logits) * (1 - probability).square()
    false = F.logsigmoid(-logits) * probability.square() * (1 - heatmap).pow(4)
    return -torch.where(heatmap == 1, missed, torch.where(care, false, 0)).sum()


def depth_weight(depth: Tensor) -> Tensor:
    """Depth-guided weight of the keypoint loss: near 0 at the camera, growing with the depth.

    depth: (M,) metres.
    """
    return torch.where(depth < 5, 0.01 * depth, torch.log10(depth.clamp(min=5) - 4) + 0.1)


def object_losses(
    heads: dict[str, Tensor], targets: ObjectTargets, spec: ModelSpec, depth_guided: bool = True
) -> dict[str, Tensor]:
    """Losses of the regression heads and of the position, each summed over M objects.

    heads: (M, channels) by head name, raw, at the cells of the targets: `hps`, `dim`, `rot`,
    `prob` and, where they are trained, `depth_error`, `wh` and `reg`.
    """
    offsets = heads["hps"].unflatten(-1, (9, 2))
    size = decode_size(heads["dim"], targets.class_index, spec)
    rays = _rays(offsets, targets)
    yaw = yaw_from_observation(_alpha(heads["rot"], targets), rays[:, 8, 0])
    corners = keypoint_offsets(size, yaw)
    center = grm.solve(rays, corners, targets.kept.to(rays.dtype))
    with torch.no_grad():
        every = grm.solve(rays, corners, targets.keypoint_mask.to(rays.dtype))
    losses = {
        "hps": _keypoint_loss(offsets, targets, depth_guided),
        "dim": _dimension_loss(size, targets, spec),
        "rot": _rotation_loss(heads["rot"], targets),
        "position": _position_loss(center, targets),
        "prob": _confidence_loss(heads["prob"], Boxes3D(every, size, yaw), targets),
    }
    if "depth_error" in heads:
        losses["depth_error"] = _depth_error_loss(heads["depth_error"], every[:, 2], targets)
    for name, truth in (("wh", targets.box_size), ("reg", targets.box_center)):
        if name in heads:
            losses[name] = (heads[name] - truth).abs().sum()
    return losses


def _rays(offsets: Tensor, targets: ObjectTargets) -> Tensor:
    """Keypoints (M, 9, 2) in cells relative to the peak, as rays (M, 9, 2) of the live camera."""
    cells = torch.stack((targets.x, targets.y), dim=-1)[:, None] + offsets
    to_image = targets.to_image
    pixels = cells @ to_image[:, :, :2].mT + to_image[:, None, :, 2]
    return unproject(pixels, targets.intrinsics[:, None])


def _target_alpha(targets: ObjectTargets) -> Tensor:
    return observation_angle(targets.yaw, targets.center[:, 0] / targets.center[:, 2])


def _alpha(rotation: Tensor, targets: ObjectTargets) -> Tensor:
    """Predicted observation angle (M,) from the bin whose centre is nearer to the true angle."""
    bins = rotation.unflatten(-1, (2, 4))
    centers = torch.tensor(BIN_CENTERS, dtype=rotation.dtype, device=rotation.device)
    residual = torch.atan2(bins[..., 2], bins[..., 3])
    right = (_target_alpha(targets) > 0).long()[:, None]
    return (centers + residual).gather(1, right).squeeze(1)


def _keypoint_loss(offsets: Tensor, targets: ObjectTargets, depth_guided: bool) -> Tensor:
    error = (offsets - targets.keypoints).abs().sum(-1) * targets.keypoint_mask
    weight = depth_weight(targets.center[:, 2]) if depth_guided else 1
    return (error.mean(-1) * weight).sum()


def _dimension_loss(size: Tensor, targets: ObjectTargets, spec: ModelSpec) -> Tensor:
    if not spec.dimension_mean:
        return (size - targets.size).abs().sum() / 3
    spread = size.new_tensor(spec.dimension_spread)[targets.class_index][:, [2, 1, 0]]
    return ((size / targets.size).log() / spread).abs().sum() / 3


def _rotation_loss(rotation: Tensor, targets: ObjectTargets) -> Tensor:
    """Two-bin orientation (Mousavian et al., arXiv 1612.00496): in or out, and the residual."""
    bins = rotation.unflatten(-1, (2, 4))
    centers = torch.tensor(BIN_CENTERS, dtype=rotation.dtype, device=rotation.device)
    residual = wrap_angle(_target_alpha(targets)[:, None] - centers)
    inside = residual.abs() < math.pi / 2 + BIN_OVERLAP
    membership = F.cross_entropy(
        bins[..., :2].flatten(0, 1), inside.long().flatten(), reduction="sum"
    )
    direction = torch.stack((residual.sin(), residual.cos()), dim=-1)
    error = F.smooth_l1_loss(bins[..., 2:], direction, reduction="none").sum(-1)
    return membership + (error * inside).sum()


def _position_loss(center: Tensor, targets: ObjectTargets) -> Tensor:
    """Huber loss of the position error relative to the distance."""
    error = (center - targets.center) / targets.center[:, 2:]
    plausible = (error.detach().abs() < PLAUSIBLE_POSITION).all(-1)
    error = torch.where(plausible[:, None], error, 0)
    return F.smooth_l1_loss(
        error, torch.zeros_like(error), reduction="sum", beta=POSITION_TOLERANCE
    )


def _confidence_loss(logit: Tensor, boxes: Boxes3D, targets: ObjectTargets) -> Tensor:
    """Cross entropy of the confidence and the tolerant 3D IoU of the prediction.

    The plain IoU of pedestrians is mostly 0, which would rank them below doubtful cars.
    """
    with torch.no_grad():
        truth = Boxes3D(targets.center, targets.size, targets.yaw)
        overlap = tolerant_iou(boxes, truth).nan_to_num(0).clamp(0, 1)
    return F.binary_cross_entropy_with_logits(logit.squeeze(-1), overlap, reduction="sum")


def _depth_error_loss(value: Tensor, depth: Tensor, targets: ObjectTargets) -> Tensor:
    """Negative log-likelihood of the relative depth error under a Laplace distribution.

    value: (M, 1) raw; depth: (M,) without gradient. At the minimum of the loss the head predicts
    the mean error of each kind of object (Kendall and Gal, arXiv 1703.04977, equation 8, as L1).
    """
    truth = targets.center[:, 2]
    error = ((depth - truth).abs() / truth).nan_to_num(PLAUSIBLE_POSITION)
    error = error.clamp(max=PLAUSIBLE_POSITION) / TYPICAL_DEPTH_ERROR
    return (value + error[:, None] * torch.exp(-value)).sum()
