"""The figures by which a set of weights is judged: a detector on labelled frames."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from km3d_ros.data.kitti import KittiDataset, read_image
from km3d_ros.evaluation.depth_error import median_relative_depth_error
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.results import to_kitti
from km3d_ros.network.spec import SCORE_THRESHOLD

LOOSE_IOU = 0.5


def validate(detector: Detector, frames: KittiDataset) -> dict[str, Any]:
    """AP|R40 [easy, moderate, hard] in percent by class and metric, and depth errors of cars.

    Metrics: "2d", "bev" and "3d" at the benchmark's overlap (Car 0.7, others 0.5), and
    "bev@0.5" and "3d@0.5". What the detector leaves out by its score threshold is a miss; the
    depth errors are those of the cars that are reported by default.
    """
    truth, results = [], []
    for frame in tqdm(frames, desc="Validating", unit="frame", disable=None):
        image = read_image(frame.image_path)
        camera = CameraModel.from_projection(frame.projection, image.shape[1], image.shape[0])
        truth.append(frame.objects)
        results.append(to_kitti(detector(image, camera), detector.spec.classes))
    reported = [[item for item in found if item.score >= SCORE_THRESHOLD] for found in results]
    strict, loose = evaluate(truth, results), evaluate(truth, results, LOOSE_IOU)
    return {
        "frames": len(frames),
        "ap_r40": {
            name: {metric: _rounded(strict[name][metric]["R40"]) for metric in ("2d", "bev", "3d")}
            | {f"{m}@{LOOSE_IOU}": _rounded(loose[name][m]["R40"]) for m in ("bev", "3d")}
            for name in detector.spec.classes
        },
        "median_relative_depth_error": median_relative_depth_error(truth, reported),
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]
