"""Do the same weights serve another focal length? `python benchmarks/any_camera.py`.

The same Town scenes, rendered with several focal lengths, seen with the live intrinsics and with
the fixed ones of a camera of 0.75 image widths. Prints the median relative depth error of the
cars that were found. The training frames were rendered with 0.5 to 1.1 image widths (and zoomed
by 0.6 to 1.3).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from km3d_ros.data.town import render, sample_scene
from km3d_ros.evaluation.depth_error import relative_depth_errors
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.results import to_kitti

FOCALS = (0.4, 0.6, 0.8, 1.0, 1.3)
FIXED = 0.75


def main() -> None:
    """Print a line per focal length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3, help="of the scenes (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the embedded ones")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(args.weights)
    print("focal / width   cars found   median relative depth error: live   fixed intrinsics")
    for focal in FOCALS:
        truth, live, fixed = [], [], []
        for index in tqdm(range(args.frames), desc=f"focal {focal}", leave=False):
            frame = render(sample_scene(args.seed, index), focal=focal)
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


if __name__ == "__main__":
    main()
