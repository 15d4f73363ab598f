"""Checks that the same weights serve another camera: `python benchmarks/any_camera.py`.

Focal lengths: the same Town scenes are rendered with several focal lengths. The detector gets the
true intrinsics, and then the fixed ones of a camera of 0.75 image widths. Prints the median
relative depth error of the detected cars. The training frames had 0.5 to 1.1 image widths, scaled
by 0.6 to 1.3.

Descriptions: the same scenes through lenses, and through a region of interest of a sensor with
twice the resolution and a binning of two, compared with a rectified image of the same focal
length. Prints the differences of positions, relative to the distance. With true keypoints
(geometry alone) it is the largest difference of all labelled objects. With the network it covers
the objects that score above 0.3 in the rectified image and are found in the other one. "moved" is
the median change of distance. The scatter of the network itself is measured with a rectified image
of the same camera that is shifted by three pixels.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from km3d_ros.data.kitti import KittiObject
from km3d_ros.evaluation.depth_error import relative_depth_errors
from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import Boxes3D, keypoint_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti
from km3d_ros.town import render, sample_scene
from km3d_ros.town.lens import photograph
from km3d_ros.town.render import TownFrame

FOCALS = (0.4, 0.6, 0.8, 1.0, 1.3)
FIXED = 0.75

WIDTH, HEIGHT, FOCAL = 1280, 384, 900.0
K = torch.tensor([[FOCAL, 0, 640], [0, FOCAL, 192], [0, 0, 1]], dtype=torch.float64)
CLEAR_SCORE = 0.3
SAME_WITHIN = 0.2
"""Relative to the distance."""
LENSES = {
    "rectified, 3 px further": ("", ()),
    "plumb_bob, mild": ("plumb_bob", (-0.08, 0.02, 0.0003, -0.0002)),
    "rational_polynomial, mild": (
        "rational_polynomial",
        (0.1, -0.03, 0.0001, -0.0001, 0.003, 0.2, -0.02, 0.006),
    ),
    "equidistant, mild": ("equidistant", (0.25, 0.1)),
    "plumb_bob": ("plumb_bob", (-0.28, 0.09, 0.001, -0.0005, -0.01)),
    "rational_polynomial": (
        "rational_polynomial",
        (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02),
    ),
    "equidistant": ("equidistant", (-0.02, 0.004, -0.003, 0.0006)),
}
"""Mild: corners are moved by 2 or 3 % of the image's width; else by 11 to 13 %."""


def compare_focal_lengths(detector: Detector, seed: int, frames: int) -> None:
    """Print a line per focal length."""
    print("focal / width   cars found   median relative depth error: live   fixed intrinsics")
    for focal in FOCALS:
        truth, live, fixed = [], [], []
        for index in tqdm(range(frames), desc=f"focal {focal}", leave=False):
            frame = render(sample_scene(seed, index), focal=focal)
            height, width = frame.image.shape[:2]
            wrong = frame.projection.copy()
            wrong[[0, 1], [0, 1]] = FIXED * width
            for projection, results in ((frame.projection, live), (wrong, fixed)):
                camera = CameraModel.from_projection(projection, width, height)
                results.append(to_kitti(detector(frame.image, camera), detector.spec.classes))
            truth.append(frame.objects)
        errors = [relative_depth_errors(truth, results)[1] for results in (live, fixed)]
        medians = [100 * np.median(np.abs(error)) for error in errors]
        print(f"{focal:13.2f} {len(errors[0]):12d} {medians[0]:34.1f} % {medians[1]:16.1f} %")


def compare_descriptions(detector: Detector, seed: int, frames: int) -> None:
    """Print a line per description of a camera."""
    reference = CameraModel.from_intrinsics(K, WIDTH, HEIGHT)
    cameras = {
        name: CameraModel.from_intrinsics(K, WIDTH, HEIGHT, coefficients, model)
        for name, (model, coefficients) in LENSES.items()
    }
    shifted = K - torch.tensor([[0, 0, 3.0], [0, 0, 0], [0, 0, 0]])
    cameras["rectified, 3 px further"] = replace(reference, intrinsics=shifted)
    double = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64)) @ K
    region = CameraModel.from_intrinsics(double, 2 * WIDTH, 2 * HEIGHT)
    geometry, differences = defaultdict(list), defaultdict(list)
    for index in tqdm(range(frames), desc="descriptions", leave=False):
        frame = render(sample_scene(seed, index), 2560, 768, 1.5 * FOCAL / 2560)
        clear = detector(photograph(frame, reference), reference)
        clear = clear[clear.score > CLEAR_SCORE]
        for name, camera in cameras.items():
            found = detector(photograph(frame, camera), camera)
            differences[name].append(_differences(clear, found))
            geometry[name].append(_geometry_error(frame.objects, camera))
        differences["region of interest, binned"].append(
            _differences(clear, detector(_binned(frame, region), reference))
        )
        geometry["region of interest, binned"].append(_geometry_error(frame.objects, reference))
    print("\ndescription                  true keypoints   found    median  90 %   max   moved")
    for name, values in differences.items():
        apart, moved = np.concatenate(values, axis=1)
        same = apart < SAME_WITHIN
        figures = "".join(f"{100 * q:6.2f}" for q in np.quantile(apart[same], (0.5, 0.9, 1)))
        print(
            f"{name:28s} {100 * max(geometry[name]):12.5f} %  {same.sum():3d}/{len(same):3d} "
            f"{figures} {100 * np.median(moved[same]):+7.2f} %"
        )


def _binned(frame: TownFrame, region: CameraModel) -> np.ndarray:
    size = (region.width // 2, region.height // 2)
    return cv2.resize(photograph(frame, region), size, interpolation=cv2.INTER_AREA)


def _differences(clear: Detections, found: Detections) -> np.ndarray:
    """(2, N): how far off the nearest detection is, and its change of distance; relative."""
    if not len(found):
        return np.full((2, len(clear)), np.inf)
    distance = clear.center.norm(dim=-1)
    apart, nearest = torch.cdist(clear.center, found.center).min(dim=1)
    moved = found.center[nearest].norm(dim=-1) - distance
    return (torch.stack((apart, moved)) / distance).numpy()


def _geometry_error(objects: list[KittiObject], camera: CameraModel) -> float:
    """The largest error of positions from true keypoints, relative to the distance.

    Of objects whose keypoints are all in the image.
    """
    rows = [(*o.center, *o.size, o.yaw) for o in objects if o.has_box3d]
    values = torch.tensor(rows, dtype=torch.float64).reshape(-1, 7)
    boxes = Boxes3D(values[:, :3], values[:, 3:6], values[:, 6])
    offsets = keypoint_offsets(boxes.size, boxes.yaw)
    pixels = camera.project(boxes.center[:, None] + offsets).float()
    center = grm.solve(camera.rays(pixels), offsets.float())
    error = (center - boxes.center).norm(dim=-1) / boxes.center.norm(dim=-1)
    limit = torch.tensor([camera.width, camera.height])
    inside = ((pixels >= 0) & (pixels < limit)).all(-1).all(-1)
    return max(error[inside].tolist(), default=0.0)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3, help="of the scenes (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the embedded ones")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(args.weights)
    compare_focal_lengths(detector, args.seed, args.frames)
    compare_descriptions(detector, args.seed, args.frames)


if __name__ == "__main__":
    main()
