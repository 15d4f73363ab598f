"""A detector that is told a part of the truth, to see which head an error comes from.

The idea is that of the error analysis of CenterNet (arXiv 1904.07850): replace what one head says
by the truth and look at what the figures gain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from km3d_ros.data.kitti import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, keypoints, observation_angle, tolerant_iou
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.decode import Objects, Peaks, locate, without_duplicates
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.graph import GraphInputs
from km3d_ros.network.spec import STRIDE, ModelSpec

MIN_DEPTH = 0.1
"""Keypoints nearer than this (metres) have no usable projection."""
MIN_BOX = 1.0
"""Input pixels; objects of which less is seen stay out."""


@dataclass(frozen=True)
class _Truth:
    """G labelled objects that a model can say, as it should say them; float32 unless said."""

    class_index: Tensor
    """(G,) int64."""
    box: Tensor
    """(G, 4): x0, y0, x1, y1 of the visible part of the 2D box, in cells."""
    keypoints: Tensor
    """(G, 9, 2): pixels of the network input."""
    in_front: Tensor
    """(G, 9) bool: whether the keypoint has a usable projection."""
    size: Tensor
    """(G, 3)."""
    alpha: Tensor
    """(G,)."""
    center: Tensor
    """(G, 3)."""
    yaw: Tensor
    """(G,)."""

    def peaks(self) -> Peaks:
        """One peak of score 1 in the middle of each box, (1, G)."""
        column, row = self._middles().floor().long().unbind(-1)
        score = torch.ones_like(self.yaw)
        return Peaks(score[None], self.class_index[None], column[None], row[None])

    def owners(self, peaks: Peaks) -> Tensor:
        """For K peaks of one image the object they belong to, (K,) int64; -1 for none."""
        if not len(self.yaw):
            return torch.full_like(peaks.x[0], -1)
        cells = torch.stack((peaks.x[0], peaks.y[0]), dim=-1)[:, None] + 0.5
        inside = ((cells >= self.box[:, :2]) & (cells <= self.box[:, 2:])).all(-1)
        possible = inside & (peaks.class_index[0][:, None] == self.class_index)
        distance = (cells - self._middles()).norm(dim=-1)
        nearest = torch.where(possible, distance, torch.inf).min(dim=1)
        return torch.where(nearest.values.isfinite(), nearest.indices, -1)

    def _middles(self) -> Tensor:
        return (self.box[:, :2] + self.box[:, 2:]) / 2


@torch.inference_mode()
def detect_with_truth(
    detector: Detector,
    image: np.ndarray,
    camera: CameraModel,
    labels: Sequence[KittiObject],
    heads: Collection[str],
) -> Detections:
    """What the detector would say of an image if some of its heads were right.

    A peak belongs to the labelled object of its class in whose 2D box it lies; among several, to
    the one with the nearest middle. What belongs to none stays as the network says it.

    Args:
        detector: one whose backend is torch.
        image, camera: as of a call of the detector.
        labels: the objects of the image.
        heads: names of those that say the truth.
            "hm": a peak of score 1 in the middle of each labelled box, and no others.
            "hps": the projected keypoints in front of the camera, and the 2D box.
            "dim", "rot": the size, the observation angle.
            "prob": the tolerant 3D IoU of the detection with its object, 0 without one.
    """
    graph = detector.choice.backend.graph
    inputs = GraphInputs.of([image], [camera], detector.spec)
    affine = inputs.affine[0].astype(np.float64)
    features, peaks = graph.look(torch.from_numpy(inputs.pixels).to(graph.device))
    truth = _truth(labels, camera, affine, detector.spec, graph.device)
    if "hm" in heads:
        peaks = truth.peaks()
        owners = torch.arange(len(truth.yaw), device=graph.device)
    else:
        owners = truth.owners(peaks)
    objects = graph.read(features, peaks)
    if "hm" not in heads:
        objects = without_duplicates(objects)
    objects = _swapped(objects[0], truth, owners, heads)
    if "prob" in heads:
        found = locate(objects, affine, camera, detector.spec.noise, detector.grm)
        objects = replace(objects, confidence=_true_confidence(found, truth, owners))
    return detector.located(objects, affine, camera)


def _truth(
    labels: Sequence[KittiObject],
    camera: CameraModel,
    affine: np.ndarray,
    spec: ModelSpec,
    device: torch.device,
) -> _Truth:
    """The labelled objects whose class the model knows and whose 2D box meets its input."""
    known = [item for item in labels if item.class_name in spec.classes and item.has_box3d]
    limit = np.array(spec.input_size[::-1]) / STRIDE
    corners = np.array([item.box2d for item in known]).reshape(-1, 2, 2)
    box = (corners @ affine[:, :2].T + affine[:, 2]) / STRIDE
    box = np.clip(box, 0, limit).reshape(-1, 4)
    seen = np.flatnonzero((box[:, 2:] - box[:, :2] >= MIN_BOX / STRIDE).all(axis=1))
    known = [known[i] for i in seen]
    solid = torch.tensor(
        [[*item.center, *item.size, item.yaw] for item in known], dtype=torch.float64
    ).reshape(-1, 7)
    boxes = Boxes3D(solid[:, :3], solid[:, 3:6], solid[:, 6])
    points = keypoints(boxes)
    middle = boxes.center + camera.translation
    to_input_pixels = torch.from_numpy(affine)
    on_input = camera.project(points) @ to_input_pixels[:, :2].T + to_input_pixels[:, 2]
    return _Truth(
        class_index=torch.tensor(
            [spec.classes.index(item.class_name) for item in known], dtype=torch.int64
        ).to(device),
        box=torch.from_numpy(box[seen]).float().to(device),
        keypoints=on_input.float().to(device),
        in_front=((points + camera.translation)[..., 2] > MIN_DEPTH).to(device),
        size=boxes.size.float().to(device),
        alpha=observation_angle(boxes.yaw, middle[:, 0] / middle[:, 2]).float().to(device),
        center=boxes.center.float().to(device),
        yaw=boxes.yaw.float().to(device),
    )


def _swapped(objects: Objects, truth: _Truth, owners: Tensor, heads: Collection[str]) -> Objects:
    """The K objects with the truth of their owners (K,) in place of what these heads say."""
    rows = torch.nonzero(owners >= 0)[:, 0]
    owners = owners[rows]
    changed = {}
    if "hps" in heads:
        visible = truth.in_front[owners][..., None]
        right = torch.where(visible, truth.keypoints[owners], objects.keypoints[rows])
        changed["keypoints"] = objects.keypoints.index_copy(0, rows, right)
        changed["box2d"] = objects.box2d.index_copy(0, rows, truth.box[owners] * STRIDE)
    if "dim" in heads:
        changed["size"] = objects.size.index_copy(0, rows, truth.size[owners])
    if "rot" in heads:
        changed["alpha"] = objects.alpha.index_copy(0, rows, truth.alpha[owners])
    return replace(objects, **changed)


def _true_confidence(found: Detections, truth: _Truth, owners: Tensor) -> Tensor:
    """Tolerant 3D IoU (K,) with the owners; 0 without one, or where not finite."""
    rows = torch.nonzero(owners >= 0)[:, 0]
    owners = owners[rows]
    iou = tolerant_iou(
        Boxes3D(found.center[rows], found.size[rows], found.yaw[rows]),
        Boxes3D(truth.center[owners], truth.size[owners], truth.yaw[owners]),
    )
    return torch.zeros_like(found.confidence).index_copy(0, rows, iou.nan_to_num(nan=0.0))
