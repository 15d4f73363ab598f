"""Checks of a labelled KITTI folder before training."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from km3d_ros.data.box_labels import counted
from km3d_ros.data.calibration import find_calibration, read_calibration
from km3d_ros.data.class_names import CANONICAL, DONT_CARE
from km3d_ros.data.image_file import read_image_size
from km3d_ros.data.kitti import Frame, by_stem, data_folder, list_images, list_texts, read_split
from km3d_ros.data.kitti_labels import KittiObject, read_labels
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets

MIN_OVERLAP = 0.5
"""Least IoU of a labelled 2D box with that of the projected 3D box for which the two count as
matching. The median in KITTI is 0.97 for cars and 0.7 for pedestrians."""
TOLERATED = 0.1
"""Part of the objects of a class that may be odd."""
LEAST_OBJECTS = 5
"""Least number of objects of a class for which sizes and overlaps are judged."""

_LONG = ("Car", "Van", "Truck", "Bus", "Trailer", "Tram", "Cyclist", "Bicycle", "Motorcycle")
_NARROW, _WIDE = 15.0, 150.0
"""Limits of plausible horizontal fields of view, in degrees."""
_CUT_OFF = 0.15
_NEAR = 2.0
_SWAPPED = "sides look swapped (height, width, length)"
_APART = (
    "projected 3D boxes do not fit the 2D boxes (swapped columns, centre instead of bottom, "
    "another camera)"
)


@dataclass
class ClassFigures:
    """The labelled objects of a class.

    count: all of them. sizes: (length, width, height) and depths: z, in metres, of those with a
    3D box. overlaps: IoU of the 2D box with that of the projected 3D box.
    swapped, apart: label files of objects whose sides look swapped, and of those whose boxes do
    not overlap enough.
    """

    count: int = 0
    sizes: list[tuple[float, float, float]] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)


@dataclass
class Checked:
    """What was found in a folder.

    frames: those without a fault of their own. cameras: width, height, fx, fy, cx, cy by frame.
    faults: one line each, by kind.
    """

    frames: list[Frame] = field(default_factory=list)
    classes: dict[str, ClassFigures] = field(default_factory=lambda: defaultdict(ClassFigures))
    cameras: list[tuple[float, ...]] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def check_folder(root: Path, split: str | None = None) -> Checked:
    """Read all labels and calibrations of a folder and the headers of its images.

    root, split: as for `find_images`.

    Raises:
        InputError: no KITTI folder, or no such split.
    """
    folder = data_folder(root, split, ("calib", "label_2"))
    images = by_stem(list_images(folder / "image_2"))
    labels = list_texts(folder / "label_2")
    calibrations = {name: find_calibration(folder, name) for name in images}
    calibrations = {name: path for name, path in calibrations.items() if path.exists()}
    names = list(images) if split is None else read_split(root, split)
    checked = Checked()
    for name in names:
        missing = [
            f"{part}/{name}.*"
            for part, files in (("image_2", images), ("calib", calibrations), ("label_2", labels))
            if name not in files
        ]
        if missing:
            checked.faults["files are missing"].append(", ".join(missing))
        else:
            _check_frame(images[name], calibrations[name], labels[name], checked)
    if split is None:
        without = [path for name, path in labels.items() if name not in images]
        checked.faults["labels without image"] += [path.name for path in without]
    _check_classes(checked)
    checked.faults = {kind: found for kind, found in checked.faults.items() if found}
    return checked


def _check_frame(image: Path, calibration: Path, label: Path, checked: Checked) -> None:
    try:
        width, height = read_image_size(image)
        projection, camera = read_calibration(calibration)
        camera = camera or CameraModel.from_projection(projection, width, height)
        objects = read_labels(label)
    except InputError as error:
        checked.faults["files cannot be used"].append(str(error))
        return
    checked.frames.append(Frame(image.stem, image, projection, objects))
    checked.cameras.append((width, height, camera.fx, camera.fy, camera.cx, camera.cy))
    _check_camera(calibration, camera, checked)
    for item in objects:
        _check_object(label, item, camera, checked)


def _check_camera(path: Path, camera: CameraModel, checked: Checked) -> None:
    view = math.degrees(2 * math.atan(camera.width / 2 / camera.fx))
    faults = checked.faults["cameras make no sense"]
    if not _NARROW <= view <= _WIDE:
        faults.append(f"{path.name}: horizontal field of view {view:.0f} degrees")
    if not (0 < camera.cx < camera.width and 0 < camera.cy < camera.height):
        faults.append(
            f"{path.name}: principal point ({camera.cx:.0f}, {camera.cy:.0f}) outside the image "
            f"of {camera.width}x{camera.height}"
        )


def _check_object(label: Path, item: KittiObject, camera: CameraModel, checked: Checked) -> None:
    figures = checked.classes[item.class_name]
    figures.count += 1
    x0, y0, x1, y1 = item.box2d
    if x1 <= x0 or y1 <= y0:
        checked.faults["2D boxes without area"].append(f"{label.name}: {item.class_name}")
    elif x1 <= 0 or y1 <= 0 or x0 >= camera.width or y0 >= camera.height:
        checked.faults["2D boxes outside the image"].append(f"{label.name}: {item.box2d}")
    elif max(item.box2d) <= 1:
        checked.faults["2D boxes in parts of the image, expected pixels"].append(label.name)
    if item.class_name == DONT_CARE or not item.has_box3d:
        return
    figures.sizes.append(item.size)
    figures.depths.append(item.center[2])
    length, width, height = item.size
    is_turned = item.class_name in _LONG and length < width
    if is_turned or (item.class_name == "Pedestrian" and height < max(length, width)):
        figures.swapped.append(label.name)
    if item.center[2] > _NEAR and item.truncation <= _CUT_OFF:
        figures.overlaps.append(_overlap(item, camera))
        if figures.overlaps[-1] < MIN_OVERLAP:
            figures.apart.append(label.name)


def _overlap(item: KittiObject, camera: CameraModel) -> float:
    """IoU of the 2D box with that of the projected 3D box, as far as it is in the image."""
    offsets = corner_offsets(item.size, item.yaw, camera.level)
    pixels = camera.project(np.array(item.center) + offsets)
    limits = np.array([camera.width - 1, camera.height - 1])
    box = np.array(item.box2d).reshape(2, 2)
    other = np.clip([pixels.min(0), pixels.max(0)], 0, limits)
    shared = np.clip(np.minimum(box[1], other[1]) - np.maximum(box[0], other[0]), 0, None).prod()
    whole = (box[1] - box[0]).prod() + (other[1] - other[0]).prod() - shared
    return float(shared / whole) if whole > 0 else 0.0


def _check_classes(checked: Checked) -> None:
    for name, figures in checked.classes.items():
        if name not in CANONICAL:
            objects = counted(figures.count, "object")
            checked.faults["class names are unknown"].append(f"{name}: {objects}")
        for found, total, kind in (
            (figures.swapped, figures.sizes, _SWAPPED),
            (figures.apart, figures.overlaps, _APART),
        ):
            if len(total) >= LEAST_OBJECTS and len(found) > max(1, TOLERATED * len(total)):
                text = f"{name}: {len(found)} of {len(total)} objects (first: {found[0]})"
                checked.faults[kind].append(text)
