"""2D boxes of a COCO file (`images`, `annotations`, `categories`)."""

from __future__ import annotations

import json
import math
import os
import reprlib
from pathlib import Path
from typing import Any

from km3d_ros.data.box_labels import LabelledImage, LeftOut, NamedBox, check_pixels, shown
from km3d_ros.data.files import read_bytes
from km3d_ros.data.kitti import IMAGE_SUFFIXES
from km3d_ros.errors import InputError

_MAX_COCO = 2**30
"""Largest COCO file in bytes: twice the largest file of COCO itself."""
_LISTS = ("images", "annotations", "categories")
_FOLDERS = (".", "images", "..", "../images")
"""Folders in which images are searched, relative to the folder of the file."""

_Id = int | str


def read_coco_boxes(path: Path) -> tuple[list[LabelledImage], LeftOut]:
    """Read the boxes of a COCO file. An image without annotations has no objects.

    Raises:
        InputError: unreadable or larger than 1 GiB, not COCO, none of its images exists, an image
            occurs twice, or an annotation has no box of four finite numbers in pixels.
    """
    content = _read(path)
    left_out = LeftOut()
    boxes = _read_boxes(path, content, left_out)
    images: dict[Path, LabelledImage] = {}
    for entry in content["images"]:
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise InputError(f"{path}: image {_text(entry.get('id'))} has no file_name")
        found = _find_image(path.parent, name)
        if found is None:
            left_out.add("image", "without file", shown(name))
        elif found in images:
            raise InputError(f"{path}: image file {shown(name)} occurs twice")
        else:
            images[found] = LabelledImage(found, boxes[entry["id"]], _size(entry))
    if not images:
        folders = ", ".join(os.path.normpath(path.parent / folder) for folder in _FOLDERS)
        raise InputError(
            f"{path}: no image file found in {folders} ({str(left_out) or 'none listed'})"
        )
    for folder in sorted({path.parent for path in images}):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in IMAGE_SUFFIXES and file not in images:
                left_out.add("image", "without labels", shown(file.name))
    return list(images.values()), left_out


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    data = read_bytes(path, _MAX_COCO)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file") from error
    for name in _LISTS:
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(
                f"{path}: not a COCO file; expected an object with lists {', '.join(_LISTS)}"
            )
    return content


def _read_boxes(
    path: Path, content: dict[str, list[dict[str, Any]]], left_out: LeftOut
) -> dict[_Id, list[NamedBox]]:
    """The boxes of every listed image by its id."""
    names: dict[_Id, str] = {}
    for entry in content["categories"]:
        key = _id(entry, "id", f"{path}: a category")
        names[key] = entry.get("name")
        if not isinstance(names[key], str):
            raise InputError(f"{path}: category {_text(key)} has no name")
    boxes: dict[_Id, list[NamedBox]] = {}
    for entry in content["images"]:
        key = _id(entry, "id", f"{path}: an image")
        if key in boxes:
            raise InputError(f"{path}: two images have the id {_text(key)}")
        boxes[key] = []
    largest = 0.0
    for i, entry in enumerate(content["annotations"]):
        name = f"annotation {_text(entry.get('id', f'number {i}'))}"
        where = f"{path}: {name}"
        category, image = _id(entry, "category_id", where), _id(entry, "image_id", where)
        if category not in names:
            raise InputError(f"{where} has the unknown category {_text(category)}")
        x, y, width, height = _bbox(entry, where)
        largest = max(largest, x, y, width, height)
        if image not in boxes:
            left_out.add("box", "of no listed image", name)
            continue
        corners = (x, y, x + width, y + height)
        crowd = entry.get("iscrowd") == 1
        boxes[image].append(NamedBox(name, names[category], corners, crowd=crowd))
    check_pixels(path, [largest])
    return boxes


def _id(entry: dict[str, Any], field: str, where: str) -> _Id:
    value = entry.get(field)
    if not isinstance(value, int | str):
        raise InputError(f"{where} has the {field} {_text(value)}, expected a number or a text")
    return value


def _bbox(entry: dict[str, Any], where: str) -> tuple[float, ...]:
    """x, y, width, height in pixels."""
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4 or not all(map(_is_finite, values)):
        raise InputError(
            f"{where} has the bbox {_text(values)}, expected four finite numbers x, y, width, "
            "height"
        )
    return tuple(map(float, values))


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, str) else reprlib.repr(value)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height; None where the file does not give them; some tools write 0."""
    width, height = image.get("width"), image.get("height")
    known = all(_is_finite(side) and side > 0 for side in (width, height))
    return (width, height) if known else None


def _find_image(folder: Path, name: str) -> Path | None:
    for place in _FOLDERS:
        # Normal paths: two names of one file must compare equal.
        path = os.path.normpath(folder / place / name)
        if os.path.isfile(path):  # unlike Path's, also False for names that no file can have
            return Path(path)
    return None
