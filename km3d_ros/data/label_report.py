"""What the labels of KITTI folders teach, counted before a training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from km3d_ros.data.box_labels import check_pixels, counted, names_with_counts
from km3d_ros.data.class_names import CANONICAL
from km3d_ros.data.kitti import KittiDataset, KittiObject
from km3d_ros.errors import InputError

LARGELY_OCCLUDED = 2
"""Objects that are hidden more than this are neither taught nor punished."""
MIN_DEPTH = 0.1
"""Metres; an object that is centred nearer has no usable projection."""


@dataclass
class LabelCounts:
    """Numbers of labelled objects by use.

    taught: by trained class. ignored: by trained class and reason. others: by the name of another
    class that is known. unknown: by a name that is not.
    """

    taught: Counter[str] = field(default_factory=Counter)
    ignored: dict[str, Counter[str]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, objects: Iterable[KittiObject], classes: Sequence[str]) -> None:
        """Count the objects of one frame."""
        for item in objects:
            name = item.class_name
            if name not in classes:
                (self.others if name in CANONICAL else self.unknown)[name] += 1
                continue
            reason = why_not_taught(item)
            if reason is None:
                self.taught[name] += 1
            else:
                self.ignored.setdefault(name, Counter())[reason] += 1


def why_not_taught(item: KittiObject) -> str | None:
    """Why an object is no example of its class; None where it is one."""
    x0, y0, x1, y1 = item.box2d
    if x1 <= x0 or y1 <= y0:
        return "2D box without area"
    if not item.has_box3d:
        return "without 3D box"
    if item.center[2] <= MIN_DEPTH:
        return "behind the camera"
    if item.occlusion > LARGELY_OCCLUDED:
        return f"occlusion {item.occlusion}"
    return None


def report_labels(folders: Sequence[KittiDataset], classes: Sequence[str]) -> list[str]:
    """One line per folder: objects of every class that are taught, ignored (why) and unknown.

    Args:
        folders: labelled folders; all their label files are read.
        classes: names of the trained classes.

    Raises:
        InputError: an unreadable label, boxes that are fractions of the image, or no object of a
            trained class to learn from in all of the folders.
    """
    counts = [_count(frames, classes) for frames in folders]
    lines = [
        f"{frames.root}: {counted(len(frames), 'frame')}; {describe(count, classes)}"
        for frames, count in zip(folders, counts, strict=True)
    ]
    if not any(count.taught for count in counts):
        raise InputError(f"no {', '.join(classes)} to learn from; found: {' | '.join(lines)}")
    return lines


def describe(count: LabelCounts, classes: Sequence[str]) -> str:
    """The numbers as one line."""
    parts = []
    for name in classes:
        part = f"{name} {count.taught[name]} taught"
        reasons = count.ignored.get(name)
        if reasons:
            part += f", {reasons.total()} ignored ({names_with_counts(reasons)})"
        parts.append(part)
    if count.others:
        parts.append(f"regions of other classes ignored: {names_with_counts(count.others)}")
    if count.unknown:
        parts.append(f"regions of unknown classes ignored: {names_with_counts(count.unknown)}")
    return "; ".join(parts)


def _count(frames: KittiDataset, classes: Sequence[str]) -> LabelCounts:
    count, coordinates = LabelCounts(), [0.0]
    for index in range(len(frames)):
        objects = frames.objects(index)
        count.add(objects, classes)
        coordinates += (max(item.box2d) for item in objects)
    check_pixels(frames.root, coordinates)
    return count
