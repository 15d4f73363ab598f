"""The figures of one trained model on held-out frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame, KittiDataset
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.depth_error import relative_depth_errors
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.validation import LEAST_SCORE
from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

KEYPOINT_COUNTS = (2, 3, 4, 6, 9)
TRUNCATED = 0.1
"""Part of a car outside the image from which on it counts as cut off."""

Objects = list[list[KittiObject]]


def figures(model: KM3DNet, spec: ModelSpec, frames: KittiDataset) -> dict[str, Any]:
    """AP|R40 of cars and their depth errors, with all and with few keypoints.

    Errors are medians of |z - true z| / true z of the cars that were found.
    """
    detector = Detector.of_model(model, spec, torch.device("cpu"), LEAST_SCORE)
    seen = [(frame, *detect(detector, frame)) for frame in frames]
    truth = [frame.objects for frame, _, _ in seen]
    found = [to_kitti(detections, spec.classes) for _, _, detections in seen]
    ap = evaluate(truth, found)["Car"] | {
        f"{metric}@0.5": values for metric, values in evaluate(truth, found, 0.5)["Car"].items()
    }
    record: dict[str, Any] = {
        "ap_r40": {metric: ap[metric]["R40"] for metric in ("2d", "bev@0.5", "3d@0.5", "3d")},
        "depth_error": _median_error(truth, found),
        "few_keypoints": {},
    }
    for count in KEYPOINT_COUNTS:
        few = [
            to_kitti(with_few_keypoints(detections, camera, count, seed), spec.classes)
            for seed, (_, camera, detections) in enumerate(seen)
        ]
        record["few_keypoints"][str(count)] = {
            "3d@0.5": evaluate(truth, few, 0.5)["Car"]["3d"]["R40"],
            "all": _median_error(truth, few),
            "truncated": _median_error([_truncated(objects) for objects in truth], few),
        }
    return record


def with_few_keypoints(
    detections: Detections, camera: CameraModel, count: int, seed: int
) -> Detections:
    """The same objects with positions solved from `count` random keypoints of each."""
    random = torch.rand(len(detections), 9, generator=torch.Generator().manual_seed(seed))
    weights = (random.argsort(dim=1) < count).float()
    offsets = keypoint_offsets(detections.size, detections.yaw)
    center = grm.solve(camera.rays(detections.keypoints), offsets, weights)
    detections = replace(detections, center=center - camera.translation.float())
    return detections[center.isfinite().all(-1)]


def detect(detector: Detector, frame: Frame) -> tuple[CameraModel, Detections]:
    """The camera of a frame, and what the detector sees."""
    image = read_image(frame.image_path)
    camera = CameraModel.from_projection(frame.projection, image.shape[1], image.shape[0])
    return camera, detector(image, camera)


def _truncated(objects: list[KittiObject]) -> list[KittiObject]:
    return [item for item in objects if item.truncation > TRUNCATED]


def _median_error(truth: Objects, found: Objects) -> float | None:
    errors = np.abs(relative_depth_errors(truth, found)[1])
    return float(np.median(errors)) if len(errors) else None
