"""Images with 2D boxes, for training without 3D labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from km3d_ros.data.box_labels import (
    LeftOut,
    NamedBox,
    counted,
    names_with_counts,
    read_kitti_boxes,
    shown,
)
from km3d_ros.data.calibration import read_projection
from km3d_ros.data.class_names import plain
from km3d_ros.data.coco import read_coco_boxes
from km3d_ros.data.image_file import read_image_size
from km3d_ros.data.kitti import Frame
from km3d_ros.data.road_users import Seen, label_objects
from km3d_ros.errors import InputError


@dataclass(frozen=True, eq=False)
class BoxedFrames:
    """Images with 2D boxes, in random access.

    frames: their objects are of the trained classes, or DontCare. Each box2d is inside the image.
        The 3D boxes are unknown.
    report: one line per label file or folder: what was found, ignored and left out.
    """

    frames: list[Frame]
    report: list[str]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]


def open_boxes(
    paths: Sequence[Path],
    classes: tuple[str, ...],
    renames: Mapping[str, str] = MappingProxyType({}),
) -> BoxedFrames:
    """Read and check all labels, and the headers of the images.

    Calibrations are optional: the P2 of `calib/NAME.txt` beside the folder of the image.

    paths: KITTI folders with image_2 and label_2 (labels or results), or COCO files.
    classes: names of the trained classes; see `label_objects` for other names.
    renames: new class name by the name in the labels.

    Raises:
        InputError: labels, a calibration or an image are not readable or do not fit each other,
            or there is no object of a trained class in all of them.
    """
    frames: list[Frame] = []
    report, counts = [], Counter()
    for path in paths:
        found, seen, left_out = _open(path, classes, renames)
        frames += found
        counts.update(seen.taught)
        report.append(_describe(path, found, seen, left_out, classes))
    if not counts.total():
        raise InputError(f"no {', '.join(classes)} to learn from; found: {' | '.join(report)}")
    return BoxedFrames(frames, report)


def _open(
    path: Path, classes: tuple[str, ...], renames: Mapping[str, str]
) -> tuple[list[Frame], Seen, LeftOut]:
    renamed = {plain(name): new for name, new in renames.items()}
    images, left_out = read_kitti_boxes(path) if path.is_dir() else read_coco_boxes(path)
    frames, seen = [], Seen()
    for image in images:
        width, height = size = read_image_size(image.path)
        if image.size not in (None, size):
            labelled = "x".join(map(str, image.size))
            sizes = f"{shown(image.path.name)} is {width}x{height}, not {labelled}"
            left_out.add("image", "of another size than labelled", sizes)
            continue
        boxes = [b._replace(name=renamed.get(plain(b.name), b.name)) for b in image.boxes]
        objects = label_objects(_inside(boxes, size, left_out), classes, seen)
        projection = _find_projection(image.path, size)
        frames.append(Frame(image.path.stem, image.path, projection, objects))
    return frames, seen, left_out


def _inside(boxes: list[NamedBox], size: tuple[int, int], left_out: LeftOut) -> list[NamedBox]:
    """The boxes clipped to the centres of the outermost pixels, as KITTI does it."""
    right, bottom = (side - 1.0 for side in size)
    clipped = []
    for item in boxes:
        x0, y0, x1, y1 = item.box
        if x1 <= x0 or y1 <= y0:
            left_out.add("box", "without area", item.where)
            continue
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, right), min(y1, bottom)
        if x1 <= x0 or y1 <= y0:
            left_out.add("box", "outside the image", item.where)
            continue
        clipped.append(item._replace(box=(x0, y0, x1, y1)))
    return clipped


def _find_projection(image: Path, size: tuple[int, int]) -> np.ndarray | None:
    # normpath because the parent's parent of "a.jpg" is not "..".
    path = Path(os.path.normpath(image.parent / ".." / "calib" / f"{image.stem}.txt"))
    if not path.exists():
        return None
    projection = read_projection(path)
    x, y = projection[:2, 2]
    width, height = size
    if not (0 <= x <= width and 0 <= y <= height):
        expected = f"inside the image of {width}x{height} pixels"
        raise InputError(f"{path}: principal point ({x:g}, {y:g}), expected {expected}")
    return projection


def _describe(
    path: Path, frames: list[Frame], seen: Seen, left_out: LeftOut, classes: tuple[str, ...]
) -> str:
    calibrated = sum(frame.projection is not None for frame in frames)
    images = counted(len(frames), "image") + (f" ({calibrated} calibrated)" if calibrated else "")
    parts = [", ".join([images, *(f"{seen.taught[name]} {name}" for name in classes)])]
    if seen.regions:
        total = counted(seen.regions.total(), "region")
        parts.append(f"{total} ignored ({names_with_counts(seen.regions)})")
    if seen.background:
        total = counted(seen.background.total(), "box")
        parts.append(
            f"{total} of other classes taken as background ({names_with_counts(seen.background)})"
        )
    if str(left_out):
        parts.append(f"left out: {left_out}")
    return f"{path}: {'; '.join(parts)}"
