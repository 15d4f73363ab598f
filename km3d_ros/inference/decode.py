"""From heatmap and head values to objects in metres (docs/design.md, Mathematics).

Everything is batched, has a static shape, and runs in float32 on the device of the network. No
operation makes the host wait for the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets, wrap_angle, yaw_from_observation
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.inference.detections import SHAPES, Detections
from km3d_ros.inference.options import GRM
from km3d_ros.network.spec import STRIDE, TYPICAL_DEPTH_ERROR, ModelSpec, Noise

BIN_CENTERS = (-math.pi / 2, math.pi / 2)
"""Observation angles at which the two bins of the `rot` head are centred."""

TYPICAL_SCORE = 1 / 3
"""Score of an object with the typical depth error, for weights without the head `depth_error`."""

DUPLICATE_IOU = 0.6
"""2D IoU above which two peaks of one class are one object; chosen on Town and on real frames."""

HEIGHT_LIMITS = (0.005, 1.0)
"""Limits of height over distance in the covariance: those of 1.5 m at 300 m and at 1.5 m."""

DEPTH_ERROR_LIMITS = (0.1 * TYPICAL_DEPTH_ERROR, 10 * TYPICAL_DEPTH_ERROR)
"""Limits of the expected relative depth error."""

_NEAREST = 0.1
"""Smallest distance in metres by which heights are divided."""


@dataclass(frozen=True)
class Peaks:
    """The K best peaks of each image over all classes, in descending order of the score.

    If an image has fewer than K peaks, cells with the score 0 fill the remaining rows.
    """

    score: Tensor
    """(B, K) float32: probability."""
    class_index: Tensor
    """(B, K) int64."""
    x: Tensor
    y: Tensor
    """(B, K) int64: column and row of the cell."""


@dataclass(frozen=True)
class Objects:
    """Outputs of the network for objects, without positions. Float32 unless stated otherwise."""

    class_index: Tensor
    """(...) int64."""
    peak_score: Tensor
    """(...)"""
    confidence: Tensor
    """(...): expected 3D IoU, both boxes at twice their size (published weights: plain IoU)."""
    depth_error: Tensor
    """(...): expected relative error of the depth."""
    keypoints: Tensor
    """(..., 9, 2): corners and centre, pixels of the network input."""
    size: Tensor
    """(..., 3): length, width, height in metres."""
    alpha: Tensor
    """(...): observation angle in radians, in [-pi, pi)."""
    box2d: Tensor
    """(..., 4): x0, y0, x1, y1 of the visible outline, pixels of the network input."""

    def __getitem__(self, index) -> Objects:
        """The same fields with the rows that the index selects."""
        return Objects(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def find_peaks(logits: Tensor, count: int) -> Peaks:
    """The cells that are the maximum of their 3×3 neighbourhood, `count` best of each image.

    logits: (B, classes, h, w); a cell that is not finite is no peak.
    """
    logits = logits.float().nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
    scores = logits.sigmoid()
    peaks = scores * _is_maximum(scores)
    height, width = peaks.shape[-2:]
    flat = peaks.flatten(1)
    best, index = flat.topk(min(count, flat.shape[1]))
    return Peaks(
        score=best,
        class_index=index // (height * width),
        x=index % width,
        y=index % (height * width) // width,
    )


def _is_maximum(scores: Tensor) -> Tensor:
    """Whether a cell is the maximum of its 3×3 neighbourhood; of equal cells, the first one.

    In half precision neighbours may be equal, and one object must not give two peaks.
    """
    padded = F.pad(scores, (1, 1, 1, 1))
    left, middle, right = padded[..., :-2], padded[..., 1:-1], padded[..., 2:]
    rows = torch.maximum(middle, torch.maximum(left, right))
    before = torch.maximum(rows[..., :-2, :], left[..., 1:-1, :])
    after = torch.maximum(rows[..., 2:, :], right[..., 1:-1, :])
    return (scores > before) & (scores >= after)


def decode(peaks: Peaks, heads: Mapping[str, Tensor], spec: ModelSpec) -> Objects:
    """Head values at the peaks to objects.

    heads: (B, K, channels) of `hps`, `dim`, `rot`, `prob` and, if the weights have them,
        `depth_error`, `wh` and `reg`, by name. Without `wh` and `reg` the 2D box is the extent of
        the eight corners.
    """
    cells = torch.stack((peaks.x, peaks.y), dim=-1)
    offsets = heads["hps"].float().unflatten(-1, (-1, 2))
    confidence = heads["prob"].float().sigmoid()[..., 0]
    if "depth_error" in heads:
        ratio = heads["depth_error"].float().exp()[..., 0]
    else:
        ratio = _missed(peaks.score * confidence) / _missed(TYPICAL_SCORE)
    keypoints = (cells[..., None, :] + offsets) * STRIDE
    if "wh" in heads and "reg" in heads:
        middle, half = cells + heads["reg"].float(), heads["wh"].float().clamp(min=0) / 2
        box2d = torch.cat((middle - half, middle + half), dim=-1) * STRIDE
    else:
        corners = keypoints[..., :8, :]
        box2d = torch.cat((corners.amin(-2), corners.amax(-2)), dim=-1)
    return Objects(
        class_index=peaks.class_index,
        peak_score=peaks.score,
        confidence=confidence,
        depth_error=(ratio * TYPICAL_DEPTH_ERROR).clamp(*DEPTH_ERROR_LIMITS),
        keypoints=keypoints,
        box2d=box2d,
        size=decode_size(heads["dim"].float(), peaks.class_index, spec),
        alpha=_alpha(heads["rot"].float()),
    )


def without_duplicates(objects: Objects) -> Objects:
    """The objects (B, K), with the peak score 0 for duplicates.

    An object is a duplicate if a better one of its class overlaps it in the image by an IoU above
    `DUPLICATE_IOU`. All pairs are compared at once: Fast NMS (YOLACT, arXiv 1904.02689).
    """
    low, high = objects.box2d.unflatten(-1, (2, 2)).unbind(-2)
    area = (high - low).prod(-1)
    shared = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(
        low[:, :, None], low[:, None]
    )
    shared = shared.clamp(min=0).prod(-1)
    same_box = shared > DUPLICATE_IOU * (area[:, :, None] + area[:, None] - shared)
    same_class = objects.class_index[:, :, None] == objects.class_index[:, None]
    score = objects.peak_score * objects.confidence
    better = score[:, None] > score[:, :, None]
    duplicate = (same_box & same_class & better).any(-1)
    return replace(objects, peak_score=objects.peak_score.masked_fill(duplicate, 0))


def decode_size(values: Tensor, class_index: Tensor, spec: ModelSpec) -> Tensor:
    """(..., 3) values of the `dim` head (height, width, length) to length, width, height."""
    if spec.dimension_mean:
        mean = _constant(spec.dimension_mean, values.device)[class_index]
        spread = _constant(spec.dimension_spread, values.device)[class_index]
        values = mean * torch.exp(spread * values)
    height, width, length = values.unbind(-1)
    return torch.stack((length, width, height), dim=-1)


@cache
def _constant(values: tuple, device: torch.device) -> Tensor:
    """A constant on a device, copied there once; each copy would make the host wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


def locate(objects: Objects, cameras: Pinholes, noise: Noise) -> tuple[Detections, ...]:
    """Objects (B, N) to boxes in the frames of virtual cameras (B, 1), by each method of `GRM`.

    Rows whose position is not determined are not finite. Nor are `consistent` positions behind the
    camera. `published` positions are as in the released code: in the frame of K (on KITTI, 6 cm
    beside the camera frame), and also behind the camera.
    """
    rays = cameras.rays(objects.keypoints)
    yaw = yaw_from_observation(objects.alpha, rays[..., 8, 0])
    offsets = keypoint_offsets(objects.size, yaw)
    found = []
    for method in GRM:
        in_frame_of_k = grm.solve(rays, offsets, method=method)
        center = in_frame_of_k - cameras.translation
        error = cameras.project(center[..., None, :] + offsets) - objects.keypoints
        if method == "published":
            center = in_frame_of_k
        else:
            center = torch.where(center[..., 2:] > 0, center, math.nan)
        detections = Detections(
            **vars(objects),
            score=objects.peak_score * objects.confidence,
            center=center,
            yaw=yaw,
            covariance=covariance(in_frame_of_k, objects.size, objects.depth_error, noise),
            reprojection_error=error.square().sum(-1).mean(-1).sqrt(),
        )
        found.append(detections)
    return tuple(found)


def pack(found: Detections) -> Tensor:
    """The table (..., columns) float32 of detections whose fields are tensors."""
    parts = []
    for field in fields(found):
        value = getattr(found, field.name).float()
        shape = SHAPES.get(field.name, ())
        parts.append(value.flatten(-len(shape)) if shape else value[..., None])
    return torch.cat(parts, dim=-1)


def covariance(center: Tensor, size: Tensor, depth_error: Tensor, noise: Noise) -> Tensor:
    """Covariance (..., 4, 4) of x, y, z, yaw; positive definite where the position is finite.

    Errors of the network are proportional to the size of the object in the image. The errors of
    all quantities grow with the expected depth error.

    center: (..., 3) in the frame of the rays; size: (..., 3) length, width, height; both metres.
    depth_error: (...) expected relative error of the depth.
    """
    height = size[..., 2] / center[..., 2].abs().clamp(min=_NEAREST)
    height = height.clamp(*HEIGHT_LIMITS)
    doubt = (depth_error / TYPICAL_DEPTH_ERROR) ** noise.power
    keypoints = torch.stack((noise.sideways * height, noise.upright * height), dim=-1)
    return grm.box_covariance(
        center, keypoints * doubt[..., None], noise.size * doubt, noise.yaw * doubt
    )


def _missed(score: Tensor | float) -> Tensor | float:
    """Relative shift along its length at which a box and its shifted copy have the given IoU.

    A shift of t gives the IoU s = (1 - t) / (1 + t), so t = (1 - s) / (1 + s).
    """
    return (1 - score) / (1 + score)


def _alpha(values: Tensor) -> Tensor:
    """(..., 8) values of the `rot` head, two bins of [not in, in, sin, cos], to alpha (...)."""
    outside, inside, sine, cosine = values.unflatten(-1, (2, 4)).unbind(-1)
    # The bin with the larger difference of logits is more probable after the softmax.
    evidence = inside - outside
    residual = torch.atan2(sine, cosine)
    first, second = (residual[..., i] + center for i, center in enumerate(BIN_CENTERS))
    return wrap_angle(torch.where(evidence[..., 0] > evidence[..., 1], first, second))
