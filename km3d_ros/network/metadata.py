"""The metadata of a checkpoint: its `ModelSpec` as JSON.

Files come from anywhere, so every value is checked before a model is built from it.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict, astuple, fields, replace
from typing import Any, TypeVar

from km3d_ros.errors import InputError
from km3d_ros.network.spec import (
    ARCHITECTURES,
    HEAD_CHANNELS,
    INFERENCE_HEADS,
    MAX_INPUT_PIXELS,
    ModelSpec,
    Noise,
)

KEY = "km3d"
"""Key of the spec in the metadata of a file."""

_MAX_CLASSES = 100
_MAX_HEAD_WIDTH = 1024

T = TypeVar("T")


def to_json(spec: ModelSpec) -> str:
    """The spec as it is stored."""
    return json.dumps(asdict(spec))


def from_json(text: str) -> ModelSpec:
    """The spec that was stored.

    Raises:
        InputError: not a JSON object with the fields of a spec, or a value that is not allowed.
    """
    try:
        values = json.loads(text)
        noise = _filled(Noise, values["noise"])
        spec = _filled(ModelSpec, {name: _tuples(value) for name, value in values.items()})
        spec = replace(spec, noise=noise)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"damaged km3d metadata ({error})") from error
    _check_heads(spec.heads)
    _check_values(spec)
    return spec


def _filled(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass whose fields are exactly the keys of `values`."""
    names = [field.name for field in fields(kind)]
    if values.keys() != set(names):
        raise ValueError(f"expected {', '.join(names)}")
    return kind(**values)


def _tuples(value: Any) -> Any:
    """Replace JSON's lists by tuples, which a spec uses."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_heads(heads: Any) -> None:
    if not _are_words(heads):
        raise InputError(f"heads is {reprlib.repr(heads)}, expected different words")
    for name in heads:
        if name not in HEAD_CHANNELS:
            known = ", ".join(HEAD_CHANNELS)
            raise InputError(f"head {reprlib.repr(name)} is not one of {known}")
    for name in INFERENCE_HEADS:
        if name not in heads:
            raise InputError(f"there is no head {name!r}, which detections are made of")


def _check_values(spec: ModelSpec) -> None:
    count = len(spec.classes) if _are_words(spec.classes) else 0
    sizes = (spec.dimension_mean, spec.dimension_spread)
    *deviations, power = astuple(spec.noise)
    rules = {
        "architecture": (
            isinstance(spec.architecture, str) and spec.architecture in ARCHITECTURES,
            f"one of {', '.join(sorted(ARCHITECTURES))}",
        ),
        "classes": (1 <= count <= _MAX_CLASSES, f"1 to {_MAX_CLASSES} different words"),
        "head_width": (_is_count(spec.head_width, _MAX_HEAD_WIDTH), f"1 to {_MAX_HEAD_WIDTH}"),
        "input_size": (
            _is_input_size(spec.input_size),
            f"a height and a width, multiples of 32, of at most {MAX_INPUT_PIXELS} pixels",
        ),
        "channel_order": (spec.channel_order in ("bgr", "rgb"), "bgr or rgb"),
        "mean": (_are_numbers(spec.mean, 3, -10, 10), "three numbers, -10 to 10"),
        "std": (_are_numbers(spec.std, 3, 1e-3, 10), "three numbers, 0.001 to 10"),
        "dimension_mean": (
            sizes == ((), ()) or all(_are_numbers_per_class(size, count) for size in sizes),
            "like dimension_spread, three numbers for each class, 0.001 to 100, or none",
        ),
        "noise": (
            _are_numbers(deviations, 4, 1e-9, 1e3) and _are_numbers((power,), 1, -10, 10),
            "standard deviations, 1e-9 to 1000, and a power, -10 to 10",
        ),
        "training": (isinstance(spec.training, dict), "figures by name"),
    }
    for name, (fits, expected) in rules.items():
        if not fits:
            raise InputError(f"{name} is {reprlib.repr(getattr(spec, name))}, expected {expected}")


def _are_words(value: Any) -> bool:
    """Whether these are different words without white space or control characters."""
    return (
        isinstance(value, tuple)
        and all(isinstance(word, str) and word.isprintable() for word in value)
        and all(word.split() == [word] for word in value)
        and len(set(value)) == len(value)
    )


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _is_input_size(value: Any) -> bool:
    sides = isinstance(value, tuple) and len(value) == 2
    fits = sides and all(_is_count(side, MAX_INPUT_PIXELS) and side % 32 == 0 for side in value)
    return fits and value[0] * value[1] <= MAX_INPUT_PIXELS


def _are_numbers(values: Any, count: int, least: float, most: float) -> bool:
    return (
        isinstance(values, (tuple, list))
        and len(values) == count
        and all(type(value) in (int, float) and least <= value <= most for value in values)
    )


def _are_numbers_per_class(values: Any, classes: int) -> bool:
    each = isinstance(values, tuple) and len(values) == classes
    return each and all(_are_numbers(sizes, 3, 1e-3, 100) for sizes in values)
