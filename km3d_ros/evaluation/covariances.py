"""Calibration of covariances: measuring it, and fitting the noise (docs/design.md, Mathematics).

Covariances are calibrated if 68 % of the errors are within one standard deviation and 95 % within
two. In addition, objects with larger standard deviations must have larger errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.evaluation.overlap import PerImage, match_in_image
from km3d_ros.evaluation.validation import Findings
from km3d_ros.geometry.box3d import wrap_angle
from km3d_ros.inference.decode import covariance
from km3d_ros.inference.formats import record_to_kitti
from km3d_ros.inference.options import SCORE_THRESHOLD
from km3d_ros.network.spec import Noise

COMPONENTS = ("x", "y", "z", "yaw")
NORMAL_SHARES = {1: 0.6827, 2: 0.9545}
"""Share of normally distributed errors within one and two standard deviations."""

LEAST_OBJECTS = 50
"""Least number of objects to which the five parameters of a noise are fitted."""

_SOFTNESS = 0.05
"""Width of the smoothed corner of the quantile loss, in units of the logarithm."""
_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True)
class Matched:
    """N detections of labelled objects; float64 tensors.

    size: (N, 3) detected length, width, height in metres; center: (N, 3) detected, in metres.
    depth_error: (N,) detected.
    covariance: (N, 4, 4) of x, y, z, yaw.
    error: (N, 4) detected minus true x, y, z, yaw.
    """

    size: Tensor
    center: Tensor
    depth_error: Tensor
    covariance: Tensor
    error: Tensor

    def __len__(self) -> int:
        return len(self.error)


Records = Sequence[Mapping[str, Any]]
"""Detections of one image, as in `detections.jsonl` (`inference.formats.to_records`)."""


def match(truth: PerImage, records: Sequence[Records], class_name: str) -> Matched:
    """Match labels and detections (`overlap.match_in_image`); scores from `SCORE_THRESHOLD` on."""
    pairs = []
    for labels, found in zip(truth, records, strict=True):
        reported = [record for record in found if record["score"] >= SCORE_THRESHOLD]
        results = [record_to_kitti(record) for record in reported]
        matches = match_in_image(labels, results, class_name)
        pairs += [(labels[row], reported[column]) for row, column in matches]

    def column(name: str, *shape: int) -> Tensor:
        values = torch.tensor([found[name] for _, found in pairs], dtype=torch.float64)
        return values.reshape(-1, *shape)

    center = column("center", 3)
    true = torch.tensor([(*label.center, label.yaw) for label, _ in pairs], dtype=torch.float64)
    true = true.reshape(-1, 4)
    turn = wrap_angle(column("yaw") - true[:, 3])
    return Matched(
        size=column("size", 3),
        center=center,
        depth_error=column("depth_error"),
        covariance=column("covariance", 4, 4),
        error=torch.cat((center - true[:, :3], turn[:, None]), dim=1),
    )


def coverage(matched: Matched) -> dict[str, list[float]]:
    """Percentage of the errors within one and two standard deviations, by component."""
    deviation = matched.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    inside = [(matched.error.abs() <= k * deviation).double().mean(0) for k in NORMAL_SHARES]
    percent = (100 * torch.stack(inside, dim=-1)).tolist()
    return dict(zip(COMPONENTS, percent, strict=True))


def ranking(matched: Matched) -> float:
    """Spearman's rank correlation of sigma_z / z with |z error| / z; NaN below two objects."""
    depth = matched.center[:, 2].abs()
    expected = matched.covariance[:, 2, 2].sqrt() / depth
    return spearman(expected, matched.error[:, 2].abs() / depth)


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two (N,) tensors. Equal values share their mean rank."""
    return float(torch.corrcoef(torch.stack((_ranks(a), _ranks(b))))[0, 1])


def figures(matched: Matched) -> dict[str, Any]:
    """Number of objects, rounded coverage and rounded ranking. Undefined values are None."""
    if len(matched) < 2:
        return {"objects": len(matched), "coverage": None, "spearman": None}
    rank, shares = ranking(matched), coverage(matched)
    return {
        "objects": len(matched),
        "coverage": {name: [round(s, 1) for s in values] for name, values in shares.items()},
        "spearman": None if math.isnan(rank) else round(rank, 3),
    }


def covariance_figures(truth: PerImage, records: Sequence[Records]) -> dict[str, Any]:
    """The `figures` of each detected class, from one entry per image in both sequences."""
    names = sorted({record["class_name"] for found in records for record in found})
    matched = {name: match(truth, records, name) for name in names}
    return {name: figures(pairs) for name, pairs in matched.items() if len(pairs)}


def fit_and_judge(findings: Findings) -> tuple[Noise, dict[str, Any]]:
    """Fit the noise on every second image (`fit_noise`, whose errors are raised).

    Returns the noise, and its `figures` on the other images by detected class.
    """
    records = findings.records
    fitted = [match(findings.truth[::2], records[::2], name) for name in findings.classes]
    noise = fit_noise(_joined(fitted))
    judged = {
        name: with_noise(match(findings.truth[1::2], records[1::2], name), noise)
        for name in findings.classes
    }
    return noise, {name: figures(matched) for name, matched in judged.items() if len(matched)}


def fit_noise(matched: Matched) -> Noise:
    """Fit the noise to the shares of errors within one and two standard deviations.

    The method is quantile regression (Koenker and Bassett, Econometrica 46, 1978) of the
    logarithms of the errors, at both `NORMAL_SHARES` at once. With tails heavier than normal, the
    share within one standard deviation becomes a little too large and that within two a little
    too small. Least squares would make the standard deviations much too large.

    Raises:
        InputError: fewer than `LEAST_OBJECTS` objects.
    """
    if len(matched) < LEAST_OBJECTS:
        found = f"{len(matched)} labelled objects were found, too few to fit the noise to"
        raise InputError(f"{found}; expected {LEAST_OBJECTS} or more")
    start = Noise()
    along = torch.tensor([start.size, start.yaw], dtype=torch.float64).log()
    power = torch.tensor([start.power], dtype=torch.float64)
    across = torch.tensor([start.sideways, start.upright], dtype=torch.float64).log()

    def loss(components: tuple[int, int], parameters: Tensor) -> Tensor:
        noise = Noise(*parameters[3:].exp(), *parameters[:2].exp(), parameters[2])
        covariances = covariance(matched.center, matched.size, matched.depth_error, noise)
        return _quantile_loss(matched.error, covariances, components)

    # z depends on the size noise only, so z and yaw determine all but the noise across the ray.
    fixed = _minimised(lambda p: loss((2, 3), torch.cat((p, across))), torch.cat((along, power)))
    across = _minimised(lambda p: loss((0, 1), torch.cat((fixed, p))), across)
    return Noise(*across.exp().tolist(), *fixed[:2].exp().tolist(), float(fixed[2]))


def with_noise(matched: Matched, noise: Noise) -> Matched:
    """The same detections with the covariances that follow from `noise`."""
    covariances = covariance(matched.center, matched.size, matched.depth_error, noise)
    return replace(matched, covariance=covariances)


def _minimised(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Parameters (P,) that minimise a smooth loss."""
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss(parameters)
        value.backward()
        return value

    optimizer.step(step)
    return parameters.detach()


def _quantile_loss(error: Tensor, covariances: Tensor, components: tuple[int, ...]) -> Tensor:
    deviation = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    ratio = (error.abs().clamp(min=_SMALLEST_ERROR) / deviation).log()[:, components]
    return sum(
        (share * excess + _SOFTNESS * F.softplus(-excess / _SOFTNESS)).mean()
        for share, excess in ((p, ratio - math.log(k)) for k, p in NORMAL_SHARES.items())
    )


def _ranks(values: Tensor) -> Tensor:
    _, index, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[index].double()


def _joined(parts: Sequence[Matched]) -> Matched:
    return Matched(*(torch.cat(columns) for columns in zip(*map(astuple, parts), strict=True)))
