"""Counts of the labels of KITTI folders, made before a training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from km3d_ros.data.box_labels import check_pixels, counted, names_with_counts
from km3d_ros.data.class_names import CANONICAL
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError

LARGELY_OCCLUDED = 2
"""Largest occlusion of a taught object. Objects with a larger one are ignored."""
MIN_DEPTH = 0.1
"""Metres. An object with a nearer centre has no usable projection."""


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

    Raises:
        InputError: an unreadable label, boxes that are fractions of the image, or no object of a
            trained class to learn from in all of the folders.
    """
    described = [_describe(frames, classes) for frames in folders]
    lines = [line for line, _ in described]
    if not any(taught for _, taught in described):
        raise InputError(f"no {', '.join(classes)} to learn from; found: {' | '.join(lines)}")
    return lines


def _describe(frames: KittiDataset, classes: Sequence[str]) -> tuple[str, int]:
    """The line of a folder, and the number of its objects that are taught."""
    # By class and reason why an object is not taught; "" if it is.
    trained: dict[str, Counter[str]] = {name: Counter() for name in classes}
    others: dict[str, Counter[str]] = {"other": Counter(), "unknown": Counter()}
    largest = 0.0
    for index in range(len(frames)):
        for item in frames.objects(index):
            name = item.class_name
            largest = max(largest, *item.box2d)
            if name in trained:
                trained[name][why_not_taught(item) or ""] += 1
            else:
                others["other" if name in CANONICAL else "unknown"][name] += 1
    check_pixels(frames.root, [largest])
    parts, taught = [counted(len(frames), "frame")], 0
    for name, reasons in trained.items():
        count = reasons.pop("", 0)
        taught += count
        ignored = f", {reasons.total()} ignored ({names_with_counts(reasons)})" if reasons else ""
        parts.append(f"{name} {count} taught{ignored}")
    for kind, names in others.items():
        if names:
            parts.append(f"regions of {kind} classes ignored: {names_with_counts(names)}")
    return f"{frames.root}: {'; '.join(parts)}", taught
