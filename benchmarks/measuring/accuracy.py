"""Town frames, and the accuracy of a backend on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.overlap import image_iou
from km3d_ros.inference.options import SCORE_THRESHOLD
from km3d_ros.town.dataset import prepare, write_stills

SIZE = (1280, 384)

Results = list[list[KittiObject]]


def town(folder: Path, count: int, seed: int) -> KittiDataset:
    """Town frames. Existing files are kept."""
    prepare(folder)
    for _ in write_stills(folder, count, seed, SIZE, focal=None, workers=2):
        pass
    return KittiDataset(folder)


def accuracy(frames: KittiDataset, found: Results, reference: Results) -> dict[str, Any]:
    """The accuracy of results on the first frames.

    ap3d: AP3D|R40 of cars, moderate, overlap 0.5, in percent.
    depth_change: p50 and p95, in percent, of |z / z' - 1| over the reported cars of the reference
        that are found as well.
    """
    truth = [frames[i].objects for i in range(len(found))]
    ap = evaluate(truth, found, 0.5)["Car"]["3d"]["R40"][1]
    changes = np.concatenate([_changes(*pair) for pair in zip(found, reference, strict=True)])
    percent = 100 * np.percentile(changes, (50, 95)) if len(changes) else np.zeros(2)
    return {"ap3d": round(ap, 2), "depth_change": percent.round(3).tolist()}


def _changes(mine: list[KittiObject], theirs: list[KittiObject]) -> np.ndarray:
    mine, theirs = (
        [o for o in objects if o.class_name == "Car" and o.score >= SCORE_THRESHOLD]
        for objects in (mine, theirs)
    )
    if not mine or not theirs:
        return np.empty(0)
    overlap = image_iou(theirs, mine)
    pairs = [(i, row.argmax()) for i, row in enumerate(overlap) if row.max() > 0.5]
    return np.array([abs(mine[k].center[2] / theirs[i].center[2] - 1) for i, k in pairs])
