"""The node's parameters: typed settings, whose fields declare the parameters with their rules."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from km3d_ros.errors import InputError
from km3d_ros.geometry.level import MAX_PITCH
from km3d_ros.inference.options import BACKENDS, PRECISIONS, SCORE_THRESHOLD, VIEWS
from km3d_ros.network.spec import MAX_DETECTIONS

Value = bool | int | float | str | list[str]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Rule:
    """A parameter. The default defines its type; low and high are inclusive.

    allows, expected: a condition beyond type, range and choices, and its description.
    fixed: the value is read when the node is configured; otherwise for every frame.
    """

    name: str
    default: Value
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str | bool, ...] = ()
    allows: Callable[[Any], bool] | None = None
    expected: str = ""
    fixed: bool = False


def parameter(default: Value, description: str, **rule: Any) -> Any:
    """A field of a settings class that declares a parameter; `rule`: other fields of `Rule`."""
    return field(metadata={"default": default, "description": description, **rule})


def rules(fixed: type, live: type) -> tuple[Rule, ...]:
    """The parameters that the fields of two settings classes declare."""
    return tuple(
        Rule(item.name, fixed=settings is fixed, **item.metadata)
        for settings in (fixed, live)
        for item in fields(settings)
    )


def autostart() -> Any:
    """The parameter `autostart` of both nodes."""
    return parameter(
        True, "Configure and activate at start; false: wait for lifecycle transitions."
    )


def marker_lifetime() -> Any:
    """The parameter `marker_lifetime` of both nodes."""
    text = "Markers vanish after this time when no newer ones arrive."
    return parameter(0.5, text, unit="s", low=0.05, high=60.0)


def _are_cameras(names: Sequence[str]) -> bool:
    tokens = all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in names)
    return list(names) == [""] or (len(set(names)) == len(names) > 0 and tokens)


@dataclass(frozen=True)
class FixedSettings:
    """The parameters that are read when the node is configured."""

    weights: str = parameter(
        "",
        "Weights (safetensors), or a graph of km3d export (onnx); empty: those of the package.",
    )
    device: str = parameter(
        "auto",
        "Where the network runs: auto (CUDA if there is one, else the CPU), cpu, cuda, cuda:1, …",
    )
    backend: str = parameter(
        "auto",
        "What runs the network; auto: the fastest that is installed, for the device.",
        choices=BACKENDS,
    )
    precision: str = parameter(
        "auto",
        "Number format of the network; auto: bfloat16 on a CPU with instructions for it, else "
        "float32.",
        choices=PRECISIONS,
    )
    threads: int = parameter(
        0,
        "CPU threads of OpenVINO, PyTorch and OpenCV together; 0: all cores.",
        low=0,
        high=1024,
    )
    cameras: list[str] = parameter(
        [""],
        "Names of the cameras; topics are <name>/image, <name>/camera_info and ~/<name>/…; an "
        "empty name: one camera, on image, camera_info and ~/….",
        allows=_are_cameras,
        expected="different names of letters, digits and _, which begin with a letter, or one "
        "empty name",
    )
    rectified: str | bool = parameter(
        "auto",
        "true: images are rectified, P of the CameraInfo is used; false: raw, K and D are used; "
        "auto: those of topics named like image_rect are rectified.",
        choices=("auto", True, False),
    )
    base_frame: str = parameter(
        "",
        "Frame of the vehicle, z up: the static transform from it to the frame of the images "
        "gives pitch and roll of the camera; empty: camera_pitch and camera_roll do.",
    )
    base_frame_required: bool = parameter(
        False,
        "true: frames are dropped until the static transform is known; false: the camera counts "
        "as level until then.",
    )
    camera_pitch: float = parameter(
        0.0,
        "Pitch of all cameras: positive, they look down.",
        unit="rad",
        low=-MAX_PITCH,
        high=MAX_PITCH,
    )
    camera_roll: float = parameter(
        0.0,
        "Roll of all cameras: positive, they lean to the right.",
        unit="rad",
        low=-math.pi,
        high=math.pi,
    )
    field_of_view: float = parameter(
        0.0,
        "Horizontal field of view of the network's level view, 10 to 140 degrees; 0: that of the "
        "camera, within 40 and 100 degrees.",
        unit="degrees",
        low=0.0,
        high=VIEWS[1],
        allows=lambda degrees: degrees == 0 or degrees >= VIEWS[0],
        expected=f"0, or {VIEWS[0]:g} or more",
    )
    image_transport: str = parameter(
        "raw",
        "raw: sensor_msgs/Image on image; compressed: CompressedImage on image/compressed.",
        choices=("raw", "compressed"),
    )
    autostart: bool = autostart()


@dataclass(frozen=True)
class LiveSettings:
    """The parameters that can change while the node runs. The node reads them for every frame."""

    score_threshold: float = parameter(
        SCORE_THRESHOLD, "Objects below this score are left out.", low=0.0, high=1.0
    )
    max_detections: int = parameter(
        MAX_DETECTIONS, "Most objects per image.", low=1, high=MAX_DETECTIONS
    )
    grm: str = parameter(
        "consistent",
        "Position solver: consistent (nine keypoints, unbiased) or published (eight corners, in "
        "the frame of K: as the released code, which ignores the fourth column of P).",
        choices=("consistent", "published"),
    )
    classes: list[str] = parameter(
        [""], "Class names to publish; an empty name: every class of the weights."
    )
    marker_lifetime: float = marker_lifetime()


PARAMETERS = rules(FixedSettings, LiveSettings)


def declare(node: Node, rules: Sequence[Rule]) -> None:
    """Declare parameters on a node. Changes that break a rule are rejected.

    Raises:
        rclpy.exceptions.InvalidParameterValueException: a start value breaks its rule.
        rclpy.exceptions.InvalidParameterTypeException: a start value has another type.
    """
    node.add_on_set_parameters_callback(partial(_check, {rule.name: rule for rule in rules}))
    for rule in rules:
        node.declare_parameter(rule.name, rule.default, _descriptor(rule))


def read(node: Node, settings: type[Settings]) -> Settings:
    """The current values of the parameters in a settings class."""
    return settings(**{f.name: node.get_parameter(f.name).value for f in fields(settings)})


def unknown(node: Node, rules: Sequence[Rule], program: str) -> Iterator[str]:
    """One sentence for each given parameter that the node does not have."""
    # rclpy has no public name for the values from files and the command line.
    for name in sorted(getattr(node, "_parameter_overrides", {})):
        if name.startswith("qos_overrides.") or node.has_parameter(name):
            continue
        similar = get_close_matches(name, [rule.name for rule in rules], n=1)
        hint = f"did you mean {similar[0]}?" if similar else f"{program} --help lists all"
        yield f"there is no parameter {reprlib.repr(name)}: {hint}"


def check_classes(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Check class names against those of the weights; an empty name means every class.

    Raises:
        InputError: a class is unknown.
    """
    for name in wanted:
        if name and name not in known:
            raise InputError(
                f"classes: the weights do not know {name!r}; they know {', '.join(known)}"
            )


def _check(rules: dict[str, Rule], changed: Sequence[Parameter]) -> SetParametersResult:
    """Reject values that break a rule. rclpy checks type and range."""
    for name, value in ((parameter.name, parameter.value) for parameter in changed):
        rule = rules.get(name)
        if rule is None:
            continue
        chosen = [c for c in rule.choices if type(value) is type(c) and value == c]
        if (rule.choices and not chosen) or (rule.allows and not rule.allows(value)):
            shown = f"{value:g}" if isinstance(value, float) else repr(value)
            expected = rule.expected or _names(rule.choices, " or ")
            reason = f"{name} is {shown}, expected {expected}"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _names(choices: Sequence[str | bool], separator: str) -> str:
    """The choices as in a parameter file."""
    return separator.join(str(c).lower() if isinstance(c, bool) else c for c in choices)


def _descriptor(rule: Rule) -> ParameterDescriptor:
    description = f"{rule.description} Unit: {rule.unit}." if rule.unit else rule.description
    descriptor = ParameterDescriptor(description=description)
    if rule.choices:
        descriptor.additional_constraints = f"one of: {_names(rule.choices, ', ')}"
        descriptor.dynamic_typing = len({type(choice) for choice in rule.choices}) > 1
    if rule.low is not None:
        span = {"from_value": rule.low, "to_value": rule.high}
        if isinstance(rule.default, int):
            descriptor.integer_range = [IntegerRange(**span)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(**span)]
    return descriptor
