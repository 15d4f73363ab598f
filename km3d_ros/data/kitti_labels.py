"""KITTI object format: label and result files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from km3d_ros.data.class_names import DONT_CARE, canonical
from km3d_ros.data.files import numbers, read_text
from km3d_ros.errors import InputError

_LABEL_COLUMNS = 15
_RESULT_COLUMNS = 16
UNKNOWN_SIDE = -1.0
UNKNOWN_PLACE = -1000.0
UNKNOWN_ANGLE = -10.0
UNKNOWN_OCCLUSION = -1
"""Values in the files for an unknown side, coordinate, angle and occlusion."""
_OCCLUSIONS = range(4)
_LONGEST_SIDE = 100.0
_FARTHEST = 1000.0
_LARGEST_ANGLE = 10.0


@dataclass(frozen=True)
class KittiObject:
    """One line of a label or result file, in our conventions.

    class_name: "Car", "Van", "Pedestrian", ..., or "DontCare" (a region without 3D box), as
        `class_names.canonical` spells it.
    truncation: part of the object outside the image, 0 to 1; -1 where unknown.
    occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 where not given.
    alpha: observation angle in radians; -10 where unknown.
    box2d: x0, y0, x1, y1 in pixels.
    size: length, width, height in metres.
    center: geometric centre in metres, in the frame of the rectified reference camera
        (x right, y down, z forward). The files store the centre of the bottom face.
    yaw: rotation about the y axis in radians, KITTI's rotation_y.
    score: confidence of a result, None for a label.
    """

    class_name: str
    truncation: float
    occlusion: int
    alpha: float
    box2d: tuple[float, float, float, float]
    size: tuple[float, float, float]
    center: tuple[float, float, float]
    yaw: float
    score: float | None = None

    @classmethod
    def of_box2d(
        cls,
        class_name: str,
        box2d: tuple[float, float, float, float],
        truncation: float = -1.0,
        occlusion: int = UNKNOWN_OCCLUSION,
    ) -> KittiObject:
        """An object, or a DontCare region, of which only the 2D box is known."""
        size, center = (UNKNOWN_SIDE,) * 3, (UNKNOWN_PLACE,) * 3
        alpha = yaw = UNKNOWN_ANGLE
        return cls(class_name, truncation, occlusion, alpha, box2d, size, center, yaw)

    @property
    def has_box3d(self) -> bool:
        """False where size, location or rotation is unknown: DontCare, and 2D labels."""
        return (
            min(self.size) > 0
            and UNKNOWN_PLACE not in self.center
            and self.center[2] != 0
            and self.yaw != UNKNOWN_ANGLE
        )

    @property
    def observation_angle(self) -> float | None:
        """alpha; if unknown, computed from yaw and centre; None if these are unknown, too."""
        if self.alpha != UNKNOWN_ANGLE:
            return self.alpha
        x, _, z = self.center
        return self.yaw - math.atan2(x, z) if self.has_box3d else None


def read_labels(path: str | Path, classes: Sequence[str] = ()) -> list[KittiObject]:
    """Read a label file.

    Lines have 15 columns. A 16th one (exports of other data sets write a score) is not read. An
    occlusion that the format does not have becomes unknown.

    classes: class names beyond the usual ones; see `class_names.canonical`.

    Raises:
        InputError: unreadable file, a line with other columns, or a label that cannot be true.
            The message names file and line.
    """
    objects = []
    for number, columns in _lines(path):
        where = f"{path}:{number}"
        item = _parse_object(columns[:_LABEL_COLUMNS], where, classes)
        _check_label(item, where)
        if item.occlusion not in _OCCLUSIONS:
            item = replace(item, occlusion=UNKNOWN_OCCLUSION)
        objects.append(item)
    return objects


def read_results(path: str | Path, classes: Sequence[str] = ()) -> list[KittiObject]:
    """Read a result file: lines of 16 columns, the last one the score.

    classes, Raises: as of `read_labels`; the values are not checked.
    """
    objects = []
    for number, columns in _lines(path):
        if len(columns) == _LABEL_COLUMNS:
            raise InputError(
                f"{path}:{number}: a result without a score; expected {_RESULT_COLUMNS} columns"
            )
        objects.append(_parse_object(columns, f"{path}:{number}", classes))
    return objects


def parse_objects(path: str | Path) -> Iterator[tuple[int, KittiObject]]:
    """The objects of a label or result file with their line numbers, as of `read_results`."""
    for number, columns in _lines(path):
        yield number, _parse_object(columns, f"{path}:{number}")


def write_objects(path: str | Path, objects: Iterable[KittiObject]) -> None:
    """Write a label file, or a result file where the objects have scores."""
    Path(path).write_text("".join(_format_object(item) + "\n" for item in objects))


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The numbers and columns of the lines that are not empty."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) not in (_LABEL_COLUMNS, _RESULT_COLUMNS):
            raise InputError(
                f"{path}:{number}: {len(columns)} columns, expected {_LABEL_COLUMNS} (label) or "
                f"{_RESULT_COLUMNS} (result)"
            )
        yield number, columns


def _parse_object(columns: list[str], where: str, classes: Sequence[str] = ()) -> KittiObject:
    values = numbers(columns[1:], where)
    truncation, occlusion, alpha, x0, y0, x1, y1, height, width, length, x, y, z, yaw = values[:14]
    return KittiObject(
        class_name=canonical(columns[0], classes),
        truncation=truncation,
        occlusion=int(occlusion),
        alpha=alpha,
        box2d=(x0, y0, x1, y1),
        size=(length, width, height),
        center=(x, y if UNKNOWN_PLACE in (x, y, z) else y - height / 2, z),
        yaw=yaw,
        score=values[14] if len(columns) == _RESULT_COLUMNS else None,
    )


def _check_label(item: KittiObject, where: str) -> None:
    x0, y0, x1, y1 = item.box2d
    if x1 < x0 or y1 < y0:
        raise InputError(f"{where}: 2D box {item.box2d}, expected left, top, right, bottom")
    if item.class_name == DONT_CARE:
        return
    if item.truncation > 1:
        raise InputError(
            f"{where}: truncation {item.truncation:g}, expected 0 to 1, or -1 where unknown"
        )
    if any(side > _LONGEST_SIDE or (side < 0 and side != UNKNOWN_SIDE) for side in item.size):
        raise InputError(
            f"{where}: length, width, height {item.size} m, expected 0 to {_LONGEST_SIDE:g}, "
            f"or {UNKNOWN_SIDE:g} where unknown"
        )
    for name, angle in (("rotation_y", item.yaw), ("alpha", item.alpha)):
        if abs(angle) > _LARGEST_ANGLE:
            raise InputError(
                f"{where}: {name} {angle}, expected radians up to ±{_LARGEST_ANGLE:g}"
            )
    if item.has_box3d and max(map(abs, item.center)) > _FARTHEST:
        raise InputError(f"{where}: an object at {item.center} m, beyond {_FARTHEST:g} m")


def _format_object(item: KittiObject) -> str:
    length, width, height = item.size
    x, y, z = item.center
    bottom = y if UNKNOWN_PLACE in item.center else y + height / 2
    values = [item.alpha, *item.box2d, height, width, length, x, bottom, z, item.yaw]
    line = f"{item.class_name} {item.truncation:.2f} {item.occlusion} " + " ".join(
        f"{value:.4f}" for value in values
    )
    return line if item.score is None else f"{line} {item.score:.6f}"
