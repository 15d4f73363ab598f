"""Drives through Town with detections, true objects and the true motion of the camera.

The frames of a drive are rendered and detected once, and kept in a file.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import to_records
from km3d_ros.town import TownFrame, drive
from km3d_ros.town.projection import Camera

RATE = 10.0
"""Frames per second."""
VERSION = 2
"""Of the drives. It changes with Town, the embedded weights and what is kept."""
FOCAL = 0.75
"""Of the drives, in image widths."""

Frame = dict[str, Any]
"""One frame:

detections: records as in `detections.jsonl`, in the camera's optical frame.
objects: true objects near the street ahead, hidden or not, with `actor` (identity), `class_name`,
    `center`, `size`, `yaw` in the camera's optical frame and `label`: None if the object is hidden
    or too far away, else its occlusion and truncation.
camera: x, y, z of the camera and its heading, counterclockwise about z, in a level frame
    (x ahead, y left, z up).
ground: height of the camera above the ground, and slopes of the ground, descending ahead and to
    the right of the camera.
"""


def load(folder: Path, seeds: Sequence[int], frames: int) -> Iterator[list[Frame]]:
    """The drives of these seeds; those without a file are rendered and detected first."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = None
    for seed in seeds:
        path = folder / f"{seed}_{frames}_{VERSION}.jsonl.gz"
        if not path.exists():
            detector = detector or Detector.from_checkpoint(precision="auto", threads=1)
            lines = [json.dumps(frame) for frame in _detect(seed, frames, detector)]
            partial = path.with_suffix(".part")
            with gzip.open(partial, "wt") as file:
                file.write("\n".join(lines))
            partial.rename(path)
        with gzip.open(path, "rt") as file:
            yield [json.loads(line) for line in file]


def _detect(seed: int, frames: int, detector: Detector) -> Iterator[Frame]:
    for frame in drive(seed, frames, RATE, focal=FOCAL):
        height, width = frame.image.shape[:2]
        camera = CameraModel.from_projection(frame.projection, width, height)
        found, view = detector(frame.image, camera), frame.scene.view
        yield {
            "detections": list(to_records(found, detector.spec.classes)),
            "objects": list(_objects(frame)),
            "camera": dict(zip(("x", "y", "z", "heading"), view.place, strict=True)),
            "ground": [view.height, view.slope, view.bank],
        }


def _objects(frame: TownFrame) -> Iterator[dict[str, Any]]:
    height, width = frame.image.shape[:2]
    view = frame.scene.view
    camera = Camera(view, width, height, FOCAL * width)
    labels = [o for o in frame.objects if o.has_box3d]
    for number, actor in enumerate(frame.scene.actors):
        if not actor.class_name:
            continue
        x, z = (float(value) for value in camera.plan(actor.x, actor.z))
        if not (0 < z < 110 and abs(x) < 40):
            continue
        label = next(
            (o for o in labels if abs(o.center[0] - x) < 1e-3 and abs(o.center[2] - z) < 1e-3),
            None,
        )
        yield {
            "actor": number,
            "class_name": actor.class_name,
            "center": [x, float(camera.ground(x, z)) - actor.size[2] / 2, z],
            "size": list(actor.size),
            "yaw": actor.yaw - view.heading,
            "label": label and {"occlusion": label.occlusion, "truncation": label.truncation},
        }
