"""Checks that the same weights serve other focal lengths: `python benchmarks/focal.py`.

The same Town scenes are rendered with several focal lengths. The detector gets the
true intrinsics, and then the fixed ones of a camera of 0.75 image widths. Prints the median
relative depth error of the detected cars. The training frames had 0.5 to 1.1 image widths, scaled
by 0.6 to 1.3.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from km3d_ros.evaluation.depth_error import relative_depth_errors
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti
from km3d_ros.town import render, sample_scene

FOCALS = (0.4, 0.6, 0.8, 1.0, 1.3)
FIXED = 0.75


def compare(detector: Detector, seed: int, frames: int) -> None:
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3, help="of the scenes (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the embedded ones")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(args.weights)
    compare(detector, args.seed, args.frames)


if __name__ == "__main__":
    main()
