"""The one rule for class names: files are read to canonical names, which then compare exactly."""

from __future__ import annotations

from collections.abc import Iterable

DONT_CARE = "DontCare"
"""A region of an image that is not labelled."""

NEIGHBOURS = {"Van": "Car", "Person_sitting": "Pedestrian"}
"""Classes that the benchmark neither rewards nor punishes as the other one."""

CANONICAL = (
    *("Car", "Van", "Truck", "Bus", "Trailer", "Tram", "Misc", DONT_CARE),
    *("Pedestrian", "Person_sitting", "Cyclist", "Bicycle", "Motorcycle"),
)
"""KITTI's names, and those of other road users that people train."""


def plain(name: str) -> str:
    """A name as names are compared: without case; `_` and `-` are spaces."""
    return name.casefold().replace("_", " ").replace("-", " ")


def canonical(name: str, classes: Iterable[str] = ()) -> str:
    """The canonical spelling of a class name; a name that is not known stays as it is.

    "car" is "Car", "person-sitting" is "Person_sitting", "Dontcare" is "DontCare".

    Args:
        name: as a file spells it.
        classes: names that are known beside `CANONICAL`, and spelled like this: those of a model.
    """
    known = _KNOWN | {plain(class_name): class_name for class_name in classes}
    return known.get(plain(name), name)


_KNOWN = {plain(name): name for name in CANONICAL} | {"dont care": DONT_CARE}
