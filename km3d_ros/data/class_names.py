"""Class names. Readers of files return canonical names, which are compared exactly."""

from __future__ import annotations

from collections.abc import Iterable

DONT_CARE = "DontCare"
"""A region of an image that is not labelled."""

NEIGHBOURS = {"Van": "Car", "Person_sitting": "Pedestrian"}
"""Neighbouring classes: the benchmark ignores a Van where it evaluates Car, for example."""

CANONICAL = (
    *("Car", "Van", "Truck", "Bus", "Trailer", "Tram", "Misc", DONT_CARE),
    *("Pedestrian", "Person_sitting", "Cyclist", "Bicycle", "Motorcycle"),
)
"""KITTI's names, and those of other road users that people train."""


def plain(name: str) -> str:
    """A name as names are compared: without case; `_` and `-` are spaces."""
    return name.casefold().replace("_", " ").replace("-", " ")


def canonical(name: str, classes: Iterable[str] = ()) -> str:
    """The canonical spelling of a class name. Unknown names stay as they are.

    "car" becomes "Car", "person-sitting" "Person_sitting", "Dontcare" "DontCare".

    classes: further canonical names, such as those of a model.
    """
    known = _KNOWN | {plain(class_name): class_name for class_name in classes}
    return known.get(plain(name), name)


_KNOWN = {plain(name): name for name in CANONICAL} | {"dont care": DONT_CARE}
