"""Runs a detector on labelled frames and computes the metrics of its weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import Frame, KittiDataset
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import naming
from km3d_ros.evaluation.depth_error import median_relative_depth_error
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.oracle import detect_with_truth
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti, to_records
from km3d_ros.inference.options import SCORE_THRESHOLD

LEAST_SCORE = 0.02
"""Score threshold for evaluation. It is low because AP needs the whole precision-recall curve."""

LOOSE_IOU = 0.5


@dataclass(frozen=True)
class Findings:
    """Labels and detections of a detector, one entry per image."""

    truth: list[list[KittiObject]]
    detections: list[Detections]
    classes: tuple[str, ...]

    @property
    def results(self) -> list[list[KittiObject]]:
        """The detections in KITTI's result format."""
        return [to_kitti(found, self.classes) for found in self.detections]

    @property
    def records(self) -> list[list[dict[str, Any]]]:
        """The detections as in `detections.jsonl`."""
        return [to_records(found, self.classes) for found in self.detections]


def detect_all(detector: Detector, frames: KittiDataset, oracle: Collection[str] = ()) -> Findings:
    """Run a detector on every frame.

    oracle: heads whose output is replaced by the truth (`oracle.detect_with_truth`).

    Raises:
        InputError: a frame cannot be read. The message names the frame.
    """
    truth, detections = [], []
    for frame in tqdm(frames, desc="Evaluating", unit="frame", disable=None):
        truth.append(frame.objects)
        detections.append(_detect(detector, frame, oracle))
    return Findings(truth, detections, detector.spec.classes)


def validate(detector: Detector, frames: KittiDataset) -> dict[str, Any]:
    """The `figures_of` a detector with the score threshold `LEAST_SCORE`."""
    return figures_of(detect_all(detector, frames))


def figures_of(findings: Findings) -> dict[str, Any]:
    """AP|R40 [easy, moderate, hard] in percent by class and metric, and depth errors.

    Metrics: "2d", "bev" and "3d" at the benchmark's overlap (`kitti_ap.default_iou`), and
    "bev@0.5" and "3d@0.5"; None if there is no object to detect. The depth errors are those of the
    first class, at the default score threshold.
    """
    truth, results, classes = findings.truth, findings.results, findings.classes
    strict, loose = (evaluate(truth, results, iou, classes) for iou in (None, LOOSE_IOU))
    precision = {
        name: {metric: _rounded(strict[name][metric]["R40"]) for metric in ("2d", "bev", "3d")}
        | {f"{m}@{LOOSE_IOU}": _rounded(loose[name][m]["R40"]) for m in ("bev", "3d")}
        for name in classes
    }
    depth = median_relative_depth_error(truth, reported(results), classes[0])
    return {"frames": len(truth), "ap_r40": precision, "median_relative_depth_error": depth}


def reported(results: list[list[KittiObject]]) -> list[list[KittiObject]]:
    """The results at or above the default score threshold."""
    return [[item for item in found if item.score >= SCORE_THRESHOLD] for found in results]


def _detect(detector: Detector, frame: Frame, oracle: Collection[str]) -> Detections:
    image = read_image(frame.image_path)
    with naming(f"{frame.image_path}: its calibration"):
        camera = frame.camera_of(image)
    if oracle:
        return detect_with_truth(detector, image, camera, frame.objects, oracle)
    return detector(image, camera)


def _rounded(values: list[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 2) for value in values]
