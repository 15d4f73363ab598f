"""Cameras that do not look level, and lenses: `nice python benchmarks/any_camera.py`.

The same Town scenes through cameras at the same place: level ones, tilted ones, and bent ones. A
level pinhole is the reference. Prints, for its objects with a score above 0.3:

- how many are found in the other camera (within 20 % of the distance), and by how much their
  positions differ, relative to the distance: median and 90th percentile;
- by how much the average precision of cars differs (3D IoU 0.5, moderate), in points;
- the same for tilted cameras that count as level, as without base_frame or camera_pitch;
- what an error of 1 degree in the pitch does to the distance;
- the time that the image takes on its way to the network's input, on one core.

"3 px further" is the reference itself with image and principal point moved by 3 pixels: the
scatter of the network.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.geometry.virtual_camera import VirtualCamera, virtual_camera
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_kitti
from km3d_ros.town import sample_scene
from km3d_ros.town.lens import take

FOCAL = 900.0
TILTED_SIZE, BENT_SIZE = (1280, 720), (1280, 384)
CLEAR_SCORE, LEAST_SCORE = 0.3, 0.02
SAME_WITHIN = 0.2
"""Relative to the distance."""
LOOSE_IOU = 0.5
TILTS = {
    **{f"pitch {degrees:+d}°": (degrees, 0) for degrees in (-10, -5, 5, 10)},
    **{f"roll {degrees:+d}°": (0, degrees) for degrees in (-5, 5)},
}
"""Pitch and roll in degrees."""
LENSES = {
    "plumb_bob, weak": ("plumb_bob", (-0.08, 0.02, 0.0003, -0.0002)),
    "rational_polynomial, weak": (
        "rational_polynomial",
        (0.1, -0.03, 0.0001, -0.0001, 0.003, 0.2, -0.02, 0.006),
    ),
    "equidistant, weak": ("equidistant", (0.25, 0.1)),
    "plumb_bob, strong": ("plumb_bob", (-0.28, 0.09, 0.001, -0.0005, -0.01)),
    "rational_polynomial, strong": (
        "rational_polynomial",
        (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02),
    ),
    "equidistant, strong": ("equidistant", (-0.02, 0.004, -0.003, 0.0006)),
}
PITCH_ERRORS = (-1, 1)
"""Degrees."""
BANDS = ((5, 15), (15, 30), (30, 60))
"""Metres."""
INPUTS = ((192, 640), (384, 1280))


@dataclass
class Row:
    """What was found through one camera, of all scenes.

    classes: of the detector.
    apart, moved: difference of positions and change of the distance, relative to the distance, of
        the clear objects of the reference; apart is infinite for objects that were not found.
    """

    classes: tuple[str, ...]
    apart: list[np.ndarray] = field(default_factory=list)
    moved: list[np.ndarray] = field(default_factory=list)
    distance: list[np.ndarray] = field(default_factory=list)
    truth: list[list[KittiObject]] = field(default_factory=list)
    results: list[list[KittiObject]] = field(default_factory=list)

    def add(self, clear: Detections, found: Detections, truth: list[KittiObject]) -> None:
        """Add a scene; positions are in the level frame."""
        distance = np.linalg.norm(clear.center, axis=-1)
        apart, moved = np.full((2, len(clear)), np.inf)
        if len(found) and len(clear):
            table = np.linalg.norm(clear.center[:, None] - found.center[None], axis=-1)
            nearest = table.argmin(1)
            apart = table.min(1) / distance
            moved = np.linalg.norm(found.center[nearest], axis=-1) / distance - 1
        self.apart.append(apart)
        self.moved.append(moved)
        self.distance.append(distance)
        self.truth.append(truth)
        self.results.append(to_kitti(found, self.classes))

    def precision(self) -> float:
        """Average precision of cars in percent."""
        figures = evaluate(self.truth, self.results, LOOSE_IOU, self.classes)
        return figures["Car"]["3d"]["R40"][1] or 0.0

    def changes(self, near: float, far: float) -> float:
        """Median change of the distance of found objects between two distances."""
        apart, moved, distance = (
            np.concatenate(values) for values in (self.apart, self.moved, self.distance)
        )
        chosen = (apart < SAME_WITHIN) & (distance >= near) & (distance < far)
        return float(np.median(moved[chosen])) if chosen.any() else math.nan


def cameras() -> dict[str, CameraModel]:
    """All cameras by name; those of a size are compared with the level one of that size."""
    found = {}
    for name, (width, height) in (("level", TILTED_SIZE), ("rectified", BENT_SIZE)):
        k = [[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]]
        found[name] = CameraModel.from_intrinsics(k, width, height)
    level, rectified = found["level"], found["rectified"]
    moved = rectified.intrinsics - np.array([[0, 0, 3.0], [0, 0, 0], [0, 0, 0]])
    found["rectified, 3 px further"] = replace(rectified, intrinsics=moved)
    for name, (model, coefficients) in LENSES.items():
        found[name] = CameraModel.from_intrinsics(k, *BENT_SIZE, coefficients, model)
    for name, angles in TILTS.items():
        found[name] = replace(level, level=level_from_angles(*np.radians(angles)))
    return found


def compare(detector: Detector, seed: int, frames: int) -> dict[str, Row]:
    """A row per camera; positions are compared in the level frame."""
    rows: dict[str, Row] = defaultdict(lambda: Row(detector.spec.classes))
    taken = cameras()
    level = taken["level"]
    wrong = {
        f"pitch wrong by {degrees:+d}°": replace(
            level, level=level_from_angles(math.radians(degrees), 0.0)
        )
        for degrees in PITCH_ERRORS
    }
    for index in tqdm(range(frames), "scenes", leave=False):
        photographs = dict(
            zip(taken, take(sample_scene(seed, index), *taken.values()), strict=True)
        )
        clear = {}
        for name, photograph in photographs.items():
            camera = photograph.camera
            found = _turned(detector(photograph.image, camera), camera.level)
            key = camera.height
            clear.setdefault(key, found[found.score > CLEAR_SCORE])
            rows[name].add(clear[key], found, photograph.objects)
            if name in TILTS:
                as_level = _turned(detector(photograph.image, level), camera.level)
                rows[f"{name}, taken as level"].add(clear[key], as_level, photograph.objects)
        photograph = photographs["level"]
        for name, camera in wrong.items():
            found = detector(photograph.image, camera)
            rows[name].add(clear[camera.height], found, photograph.objects)
    return rows


def _turned(found: Detections, rotation: np.ndarray) -> Detections:
    return replace(found, center=found.center @ rotation.T)


def print_rows(rows: dict[str, Row]) -> None:
    """The table of cameras, and that of the error of the pitch."""
    print("| camera | found | position: median | 90 % | distance | Car AP3D@0.5 | difference |")
    print("|---|---|---|---|---|---|---|")
    references = {"level": TILTED_SIZE, "rectified": BENT_SIZE}
    precisions = {name: row.precision() for name, row in rows.items()}
    for name, row in rows.items():
        if name in references or "wrong" in name:
            continue
        reference = "level" if name.startswith(("pitch", "roll")) else "rectified"
        apart, moved = np.concatenate(row.apart), np.concatenate(row.moved)
        same = apart < SAME_WITHIN
        median, most = (100 * np.quantile(apart[same], q) for q in (0.5, 0.9))
        print(
            f"| {name} | {same.sum()} of {len(same)} | {median:.2f} % | {most:.1f} % | "
            f"{100 * np.median(moved[same]):+.2f} % | {precisions[name]:.1f} | "
            f"{precisions[name] - precisions[reference]:+.1f} |"
        )
    print("\n| pitch | " + " | ".join(f"{near} to {far} m" for near, far in BANDS) + " |")
    print("|---" * (len(BANDS) + 1) + "|")
    for name, row in rows.items():
        if "wrong" in name:
            changes = (f"{100 * row.changes(*band):+.2f} %" for band in BANDS)
            print(f"| {name} | " + " | ".join(changes) + " |")


def print_times() -> None:
    """Milliseconds from a 1280x720 image to the network's input, on one core."""
    cv2.setNumThreads(1)
    width, height = TILTED_SIZE
    k = [[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]]
    level = CameraModel.from_intrinsics(k, width, height)
    model, lens = LENSES["plumb_bob, strong"]
    views = {
        "level pinhole (affine)": level,
        "tilted pinhole": replace(level, level=level_from_angles(0.17, 0.05)),
        "lens": CameraModel.from_intrinsics(k, width, height, lens, model),
    }
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    print("\n| warp, ms | " + " | ".join(f"{w}x{h}" for h, w in INPUTS) + " |\n|---|---|---|")
    for name, camera in views.items():
        times = (_fastest(virtual_camera(camera, size), image) for size in INPUTS)
        print(f"| {name} | " + " | ".join(f"{1e3 * seconds:.2f}" for seconds in times) + " |")


def _fastest(view: VirtualCamera, image: np.ndarray) -> float:
    """The shortest of many durations, which the other programs of the machine disturb least."""
    view.warp(image)  # makes the maps
    durations = []
    for _ in range(100):
        start = time.perf_counter()
        view.warp(image)
        durations.append(time.perf_counter() - start)
    return min(durations)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3, help="of the scenes (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the embedded ones")
    args = parser.parse_args()
    detector = Detector.from_checkpoint(args.weights, score_threshold=LEAST_SCORE)
    print_rows(compare(detector, args.seed, args.frames))
    print_times()


if __name__ == "__main__":
    main()
