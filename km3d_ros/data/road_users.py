"""Assign 2D boxes to the trained classes, to ignored regions, or to the background."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from km3d_ros.data.box_labels import NamedBox
from km3d_ros.data.class_names import DONT_CARE, plain
from km3d_ros.data.kitti_labels import KittiObject

_PERSON = "person"
_BIKES = ("bicycle", "bike", "motorbike", "motorcycle")
_RIDER = "Cyclist"
_SAME = {_PERSON: "pedestrian"}
"""COCO's names of trained classes where they differ from KITTI's by more than case."""
_REGIONS = {
    *("car", "van", "truck", "lorry", "pickup", "bus", "train", "tram", "trailer", "caravan"),
    *("vehicle", "other vehicle", "taxi", "tricycle", "scooter", "rickshaw", "auto rickshaw"),
    *("person", "people", "pedestrian", "person sitting", "other person", "rider"),
    *("cyclist", "bicyclist", "motorcyclist", *_BIKES),
    *("misc", "dontcare", "ignore", "ignored regions"),
}
"""Names of road users and of unlabelled regions. Detectors confuse these road users with the
trained classes, so the training ignores their boxes."""
_RIDING = 0.25
"""Share of the smaller box above which a person and a bicycle that overlap are one cyclist."""


@dataclass(frozen=True)
class Seen:
    """Numbers of boxes by use: trained class, or name in the label file."""

    taught: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    background: Counter[str] = field(default_factory=Counter)


def label_objects(
    boxes: list[NamedBox], classes: tuple[str, ...], seen: Seen
) -> list[KittiObject]:
    """The objects of one image, and its regions to ignore as DontCare; `seen` counts every box.

    Names compare without case. COCO's `person` is a Pedestrian; with a bicycle or motorcycle that
    overlaps it, the two are one Cyclist. Road users of other classes and crowds become regions.
    Boxes of other names are left out: they are background. All boxes must have an area.
    """
    objects = []
    for item in _join_riders(boxes, classes):
        class_name = _class_of(item.name, classes)
        if class_name is None:
            seen.background[item.name] += 1
            continue
        if item.crowd:
            class_name = DONT_CARE
        if class_name == DONT_CARE:
            seen.regions["crowd" if item.crowd else item.name] += 1
        else:
            seen.taught[class_name] += 1
        objects.append(KittiObject.of_box2d(class_name, item.box, item.truncation, item.occlusion))
    return objects


def _class_of(name: str, classes: tuple[str, ...]) -> str | None:
    """A trained class, DontCare, or None if the name is not that of a road user."""
    spelled = plain(name)
    trained = {plain(class_name): class_name for class_name in classes}
    unknown = DONT_CARE if spelled in _REGIONS else None
    return trained.get(spelled) or trained.get(_SAME.get(spelled, "")) or unknown


def _join_riders(boxes: list[NamedBox], classes: tuple[str, ...]) -> list[NamedBox]:
    """Join each person on a bicycle to one Cyclist, the largest overlaps first.

    Only COCO's `person` is joined: a file with the class pedestrian labels riders separately.
    """
    single = [item for item in boxes if not item.crowd]
    persons = [item for item in single if plain(item.name) == _PERSON]
    bikes = [
        item
        for item in single
        if plain(item.name) in _BIKES and _class_of(item.name, classes) == DONT_CARE
    ]
    pairs = [(_overlap(p.box, b.box), p, b) for p, b in product(persons, bikes)]
    joined: dict[int, NamedBox | None] = {}
    for overlap, person, bike in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap > _RIDING and id(person) not in joined and id(bike) not in joined:
            corners = np.reshape((person.box, bike.box), (4, 2))
            union = (*corners.min(0).tolist(), *corners.max(0).tolist())
            joined |= {id(person): person._replace(name=_RIDER, box=union), id(bike): None}
    replaced = (joined.get(id(item), item) for item in boxes)
    return [item for item in replaced if item is not None]


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Part of the smaller box that lies in the other one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (first, second))
    return max(width, 0) * max(height, 0) / smaller
