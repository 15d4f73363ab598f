"""Detections as plain values, for files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from km3d_ros.data.class_names import canonical
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError, check_downloaded
from km3d_ros.inference.detections import SHAPES, Detections

UNKNOWN = -1
"""Truncation and occlusion in result files."""

_READ = ("score", "depth_error", "box2d", "size", "center", "yaw", "alpha", "covariance")
"""Fields that are read from a record, beside the class name."""


def to_records(detections: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One dictionary of plain numbers and lists per object, keys as in `Detections`.

    The class index becomes `class_name`; the reprojection error is left out.
    """
    names = [f.name for f in fields(detections) if f.name != "reprojection_error"]
    columns = {name: getattr(detections, name).tolist() for name in names}
    columns["class_name"] = [class_names[index] for index in columns.pop("class_index")]
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def to_kitti(detections: Detections, class_names: Sequence[str]) -> list[KittiObject]:
    """The detections as objects of a KITTI result file."""
    return [record_to_kitti(record) for record in to_records(detections, class_names)]


def record_to_kitti(record: Mapping[str, Any]) -> KittiObject:
    """One dictionary of `to_records` as a line of a KITTI result file."""
    return KittiObject(
        truncation=UNKNOWN,
        occlusion=UNKNOWN,
        **{name: record[name] for name in ("class_name", "alpha", "yaw", "score")},
        **{name: tuple(record[name]) for name in ("box2d", "size", "center")},
    )


def to_json(value: Any, **options: Any) -> str:
    """JSON text as any reader takes it: numbers that are not finite become null.

    options: of `json.dumps`.
    """
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_records(path: Path, classes: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """A `detections.jsonl`: the dictionaries of `to_records` by image name without suffix.

    classes: class names beyond the usual ones; see `class_names.canonical`.

    Raises:
        InputError: a line that is no such record; file and line are named.
    """
    check_downloaded(path)
    records = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                _check(entry["detections"])
                for record in entry["detections"]:
                    record["class_name"] = canonical(record["class_name"], classes)
                records[Path(entry["image"]).stem] = entry["detections"]
            except (KeyError, RecursionError, TypeError, ValueError) as error:
                raise InputError(f"{path}:{number}: not a line of detections.jsonl") from error
    return records


def _check(records: list[dict[str, Any]]) -> None:
    """Raise KeyError, TypeError or ValueError where a record is none of `to_records`."""
    if not all(isinstance(record["class_name"], str) for record in records):
        raise TypeError("a class name that is no text")
    for name in _READ if records else ():
        values = np.array([record[name] for record in records])
        if values.shape[1:] != SHAPES.get(name, ()) or values.dtype.kind not in "fi":
            raise TypeError(f"{name} is not made of numbers")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
