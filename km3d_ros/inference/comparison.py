"""How far the answers of two backends are apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from km3d_ros.inference.decode import Objects
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.table import unpack
from km3d_ros.network.spec import STRIDE

DISTANCE = 20.0
"""Metres at which differences of position are stated: they grow with the distance."""


@dataclass(frozen=True)
class Difference:
    """The largest differences over the objects that both answers have.

    objects: how many both have; expected: how many the reference has.
    score: of peak × confidence. position: metres, scaled to objects at `DISTANCE`.
    Both are 0 where there is no object.
    """

    objects: int
    expected: int
    score: float
    position: float

    def __str__(self) -> str:
        return (
            f"{self.objects} of {self.expected} objects, score {self.score:.1e}, "
            f"position {self.position * 100:.2g} cm at {DISTANCE:.0f} m"
        )


def compare(
    answer: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], least_score: float
) -> Difference:
    """Compare two answers of `Backend.run` to the same images.

    Rows are the same object where the class is the same and each is the other's nearest, within
    a cell of the heatmap.

    least_score: of the objects of the reference that count; those without a position do not.
    """
    pairs = [
        _matched(*images, least_score) for images in zip(*answer, *reference, strict=True)
    ]
    scores = torch.cat([score for _, score, _ in pairs])
    positions = torch.cat([position for _, _, position in pairs])
    return Difference(
        objects=len(scores),
        expected=sum(count for count, _, _ in pairs),
        score=scores.max().item() if len(scores) else 0.0,
        position=positions.max().item() if len(positions) else 0.0,
    )


def _matched(
    objects: Tensor, located: Tensor, true_objects: Tensor, true_located: Tensor, least: float
) -> tuple[int, Tensor, Tensor]:
    """Of one image: objects of the reference, and the differences of those that both have."""
    there = (true_located.isfinite().all(-1)) & (unpack(Detections, true_located).score >= least)
    truth, true_place = (
        unpack(Objects, true_objects[there]),
        unpack(Detections, true_located[there]),
    )
    found, place = unpack(Objects, objects), unpack(Detections, located)
    apart = torch.cdist(truth.keypoints[:, 8], found.keypoints[:, 8])
    other = truth.class_index[:, None] != found.class_index
    apart = torch.where(other | (found.peak_score <= 0), torch.inf, apart.nan_to_num(torch.inf))
    nearest = apart.argmin(1)
    mutual = apart[:, nearest].argmin(0) == torch.arange(len(nearest))
    same = mutual & (apart.amin(1) < STRIDE)
    index = nearest[same]
    moved = (place.center[index] - true_place.center[same]).norm(dim=-1)
    return (
        len(nearest),
        (place.score[index] - true_place.score[same]).abs(),
        moved.nan_to_num(torch.inf) * DISTANCE / true_place.center[same].norm(dim=-1),
    )
