"""Positions of the embedded weights by both forms of the GRM, by distance.

    python benchmarks/experiments/geometry.py --data data/town_val

Prints the median signed depth error of the detected cars: with all predictions, and with the true
size and yaw, for which the keypoints are the only source of errors.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import detect
from tqdm import tqdm
from train import RESULTS

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.depth_error import relative_depth_errors
from km3d_ros.evaluation.overlap import image_iou
from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti

BANDS = ((5, 15), (15, 30), (30, 45), (45, 60))
METHODS = ("published", "consistent")


def main() -> None:
    """Print a line per band of distance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="KITTI-format folder")
    parser.add_argument("--weights", type=Path, help="default: the embedded ones")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(args.weights)
    found = {(method, true): [] for method in METHODS for true in (False, True)}
    truth = []
    for frame in tqdm(KittiDataset(args.data), unit="frame", disable=None):
        camera, detections = detect(detector, frame)
        truth.append(frame.objects)
        for method, true in found:
            known = with_true_shape(detections, frame.objects, detector) if true else detections
            found[method, true].append(
                to_kitti(solved(known, camera, method), detector.spec.classes)
            )
    record = {
        f"{method}{', true size and yaw' if true else ''}": _biases(truth, results)
        for (method, true), results in found.items()
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "grm.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, bands in record.items():
        print(f"{name:32}", *(f"{band} m: {bias:+.2f} %  " for band, bias in bands.items()))


def with_true_shape(
    detections: Detections, objects: list[KittiObject], detector: Detector
) -> Detections:
    """The detections that lie on a labelled object, with its size and yaw."""
    found = to_kitti(detections, detector.spec.classes)
    overlap = image_iou(objects, found)
    if not overlap.size:
        return detections[:0]
    best, hit = overlap.argmax(axis=0), overlap.max(axis=0) > 0.5
    sizes = np.array([objects[i].size for i in best], np.float32)
    yaws = np.array([objects[i].yaw for i in best], np.float32)
    return replace(detections, size=sizes, yaw=yaws)[hit]


def solved(detections: Detections, camera: CameraModel, method: str) -> Detections:
    """The same objects in the frame of the camera, their positions solved by a method."""
    offsets = keypoint_offsets(*map(torch.from_numpy, (detections.size, detections.yaw)))
    rays = torch.from_numpy(camera.rays(detections.keypoints)).float()
    center = grm.solve(rays, offsets, method=method).numpy()
    detections = replace(detections, center=center - camera.translation.astype(np.float32))
    return detections[np.isfinite(center).all(-1)]


def _biases(truth: list, results: list) -> dict[str, float]:
    true, error = relative_depth_errors(truth, results)
    return {
        f"{near}-{far}": 100 * float(np.median(error[(true >= near) & (true < far)]))
        for near, far in BANDS
    }


if __name__ == "__main__":
    main()
