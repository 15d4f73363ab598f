"""2D boxes of label files, not yet checked against their images."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from km3d_ros.data.kitti import data_folder, list_images, list_texts
from km3d_ros.data.kitti_labels import parse_objects
from km3d_ros.errors import InputError

_LONGEST_NAME = 60
_MAX_NAMES = 8
"""Names that a report lists."""


class NamedBox(NamedTuple):
    """One box of a label file.

    where: line or annotation, for messages.
    name: class as the file spells it.
    box: x0, y0, x1, y1 in pixels.
    truncation, occlusion: as of `KittiObject`.
    crowd: the box surrounds several objects of the class.
    """

    where: str
    name: str
    box: tuple[float, float, float, float]
    truncation: float = -1.0
    occlusion: int = -1
    crowd: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """An image file with its boxes.

    size: width and height that the labels were made for; None where the label file has none.
    """

    path: Path
    boxes: list[NamedBox]
    size: tuple[int, int] | None = None


class LeftOut:
    """Counts of what is left out by reason, with the first place of each reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, noun: str, reason: str, where: str) -> None:
        """Count one "image", "box", ... that is left out for a reason ("without labels")."""
        count, first = self._found.get((noun, reason), (0, where))
        self._found[noun, reason] = count + 1, first

    def __str__(self) -> str:
        return ", ".join(
            f"{counted(count, noun)} {reason} (first: {first})"
            for (noun, reason), (count, first) in self._found.items()
        )


def read_kitti_boxes(root: Path) -> tuple[list[LabelledImage], LeftOut]:
    """Read the 2D boxes of a KITTI folder, from labels or results; 3D columns are not checked.

    Raises:
        InputError: a folder is missing, no image has a label file, a line has other columns, or
            the boxes are fractions of the image.
    """
    images_and_labels = data_folder(root, None, ("label_2",))
    folder = images_and_labels / "label_2"
    labels = list_texts(folder)
    images, left_out = [], LeftOut()
    for path in list_images(images_and_labels / "image_2"):
        if path.stem in labels:
            images.append(LabelledImage(path, _read_label(labels[path.stem])))
        else:
            left_out.add("image", "without labels", shown(path.name))
    names = {image.path.stem for image in images}
    for name, label in labels.items():
        if name not in names:
            left_out.add("label file", "without image", shown(label.name))
    if not images:
        raise InputError(f"{folder}: no label file of any image ({left_out})")
    check_pixels(root, (value for i in images for box in i.boxes for value in box.box))
    return images, left_out


def check_pixels(path: Path, coordinates: Iterable[float]) -> None:
    """Refuse boxes in fractions of the image.

    Raises:
        InputError: none of the coordinates of the boxes in the file or folder exceeds 1.
    """
    largest = max(coordinates, default=0)
    if 0 < largest <= 1:
        raise InputError(
            f"{path}: no box coordinate exceeds {largest:g}; expected pixels, not fractions of "
            "the image"
        )


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 box", "2 boxes"."""
    ending = "" if count == 1 else "es" if noun.endswith("x") else "s"
    return f"{count} {noun}{ending}"


def shown(name: str) -> str:
    """A name from a file for a message: short, and without control characters."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else reprlib.repr(name)


def names_with_counts(counts: Counter[str]) -> str:
    """The most frequent names with their numbers: "Van 3, Truck 1"."""
    names = [f"{shown(name)} {count}" for name, count in counts.most_common(_MAX_NAMES)]
    more = len(counts) - _MAX_NAMES
    return ", ".join(names) + (f", and {more} more" if more > 0 else "")


def _read_label(path: Path) -> list[NamedBox]:
    name = shown(path.name)
    return [
        NamedBox(f"{name}:{line}", item.class_name, item.box2d, item.truncation, item.occlusion)
        for line, item in parse_objects(path)
    ]
