"""Detection with the true output of some heads, to find the head that causes an error.

The method is the error analysis of CenterNet (arXiv 1904.07850): replace the output of one head by
the ground truth and measure how much the metrics improve.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, keypoints, observation_angle, tolerant_iou
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.geometry.virtual_camera import VirtualCamera
from km3d_ros.inference.decode import Objects, Peaks, locate, pack, without_duplicates
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.graph import tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import GRM
from km3d_ros.network.spec import STRIDE, ModelSpec

MIN_DEPTH = 0.1
"""Least depth, in metres, of a keypoint with a usable projection."""
MIN_BOX = 1.0
"""Least visible width and height of an object in input pixels. Smaller ones are left out."""


@dataclass(frozen=True)
class _Truth:
    """True outputs of the model for G labelled objects; float32 unless noted."""

    class_index: Tensor  # (G,) int64
    box: Tensor  # (G, 4) x0, y0, x1, y1 of the visible part of the 2D box, in cells
    keypoints: Tensor  # (G, 9, 2) pixels of the network input
    in_front: Tensor  # (G, 9) bool, whether the keypoint has a usable projection
    size: Tensor  # (G, 3)
    alpha: Tensor  # (G,)
    center: Tensor  # (G, 3) in the level frame
    yaw: Tensor  # (G,)

    def peaks(self) -> Peaks:
        """One peak of score 1 at the centre of each box, (1, G)."""
        column, row = self._middles().floor().long().unbind(-1)
        score = torch.ones_like(self.yaw)
        return Peaks(score[None], self.class_index[None], column[None], row[None])

    def owners(self, peaks: Peaks) -> Tensor:
        """Index of the object of each of K peaks of one image, (K,) int64; -1 for none."""
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
    """Detect objects in an image with the output of some heads replaced by the ground truth.

    A peak belongs to the labelled object of its class whose 2D box contains it. If several boxes
    contain it, it belongs to the one with the nearest centre. A peak without an object keeps the
    output of the network.

    detector: with the torch backend.
    heads: names of the heads to replace.
        "hm": one peak of score 1 at the centre of each labelled box, and no other peaks.
        "hps": the projected keypoints in front of the camera, and the 2D box.
        "dim", "rot": the size, the observation angle.
        "prob": the tolerant 3D IoU of the detection with its object, 0 without an object.
    """
    graph = detector.choice.backend.graph
    view = detector.view(camera)
    pixels, projection = (t.to(graph.device) for t in tensors(GraphInputs.of([image], [view])))
    features, peaks = graph.look(pixels)
    truth = _truth(labels, view, detector.spec, graph.device)
    if "hm" in heads:
        peaks = truth.peaks()
        owners = torch.arange(len(truth.yaw), device=graph.device)
    else:
        owners = truth.owners(peaks)
    objects = graph.read(features, peaks)
    if "hm" not in heads:
        objects = without_duplicates(objects)
    objects = _swapped(objects[0], truth, owners, heads)

    def located() -> Detections:
        found = locate(objects, Pinholes(projection), detector.spec.noise)
        return found[GRM.index(detector.grm)]

    if "prob" in heads:
        objects = replace(objects, confidence=_true_confidence(located(), truth, owners))
    return detector.read(pack(located()).cpu().numpy(), view)


def _truth(
    labels: Sequence[KittiObject], view: VirtualCamera, spec: ModelSpec, device: torch.device
) -> _Truth:
    """True outputs for the labelled objects of known class whose 2D boxes are in the input."""
    known = [item for item in labels if item.class_name in spec.classes and item.has_box3d]
    limit = np.array(spec.input_size[::-1]) / STRIDE
    box = view.boxes_from_camera(np.array([item.box2d for item in known]).reshape(-1, 4)) / STRIDE
    box = np.clip(box, 0, np.tile(limit, 2))
    seen = np.flatnonzero((box[:, 2:] - box[:, :2] >= MIN_BOX / STRIDE).all(axis=1))
    known = [known[i] for i in seen]
    solid = torch.tensor(
        [[*item.center, *item.size, item.yaw] for item in known], dtype=torch.float64
    ).reshape(-1, 7)
    level = torch.from_numpy(view.camera.level)
    boxes = Boxes3D(solid[:, :3] @ level.T, solid[:, 3:6], solid[:, 6])
    in_frame_of_k = keypoints(boxes) + level @ torch.from_numpy(view.camera.translation)
    middle = in_frame_of_k[:, 8]

    def moved(values: Tensor) -> Tensor:
        return values.to(device, torch.float32)

    return _Truth(
        class_index=torch.tensor(
            [spec.classes.index(item.class_name) for item in known], dtype=torch.int64
        ).to(device),
        box=moved(torch.from_numpy(box[seen])),
        keypoints=moved(Pinholes(torch.from_numpy(view.projection)).project(keypoints(boxes))),
        in_front=(in_frame_of_k[..., 2] > MIN_DEPTH).to(device),
        size=moved(boxes.size),
        alpha=moved(observation_angle(boxes.yaw, middle[:, 0] / middle[:, 2])),
        center=moved(boxes.center),
        yaw=moved(boxes.yaw),
    )


def _swapped(objects: Objects, truth: _Truth, owners: Tensor, heads: Collection[str]) -> Objects:
    """The K objects with the outputs of `heads` replaced by those of their `owners` (K,)."""
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
    """Tolerant 3D IoU (K,) with the owners; 0 without an owner or if it is not finite."""
    rows = torch.nonzero(owners >= 0)[:, 0]
    owners = owners[rows]
    iou = tolerant_iou(
        Boxes3D(found.center[rows], found.size[rows], found.yaw[rows]),
        Boxes3D(truth.center[owners], truth.size[owners], truth.yaw[owners]),
    )
    return torch.zeros_like(found.confidence).index_copy(0, rows, iou.nan_to_num(nan=0.0))
