"""The node's parameters: a table with their rules, and typed settings."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TypeVar

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


@dataclass(frozen=True)
class Rule:
    """A parameter. The default defines its type; low and high are inclusive.

    fixed: the value is read when the node is configured; otherwise for every frame.
    """

    name: str
    default: Value
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str | bool, ...] = ()
    fixed: bool = False


AUTOSTART = Rule(
    "autostart",
    True,
    "Configure and activate at start; false: wait for lifecycle transitions.",
    fixed=True,
)
MARKER_LIFETIME = Rule(
    "marker_lifetime",
    0.5,
    "Markers vanish after this time when no newer ones arrive.",
    unit="s",
    low=0.05,
    high=60.0,
)
PARAMETERS = (
    Rule(
        "weights",
        "",
        "Weights (safetensors), or a graph of km3d export (onnx); empty: those of the package.",
        fixed=True,
    ),
    Rule(
        "device",
        "auto",
        "Where the network runs: auto (CUDA if there is one, else the CPU), cpu, cuda, cuda:1, …",
        fixed=True,
    ),
    Rule(
        "backend",
        "auto",
        "What runs the network; auto: the fastest that is installed, for the device.",
        choices=BACKENDS,
        fixed=True,
    ),
    Rule(
        "precision",
        "auto",
        "Number format of the network; auto: bfloat16 on a CPU with instructions for it, else "
        "float32.",
        choices=PRECISIONS,
        fixed=True,
    ),
    Rule(
        "threads",
        0,
        "CPU threads of OpenVINO, PyTorch and OpenCV together; 0: all cores.",
        low=0,
        high=1024,
        fixed=True,
    ),
    Rule(
        "cameras",
        [""],
        "Names of the cameras; topics are <name>/image, <name>/camera_info and ~/<name>/…; an "
        "empty name: one camera, on image, camera_info and ~/….",
        fixed=True,
    ),
    Rule(
        "rectified",
        "auto",
        "true: images are rectified, P of the CameraInfo is used; false: raw, K and D are used; "
        "auto: those of topics named like image_rect are rectified.",
        choices=("auto", True, False),
        fixed=True,
    ),
    Rule(
        "base_frame",
        "",
        "Frame of the vehicle, z up: the static transform from it to the frame of the images "
        "gives pitch and roll of the camera; empty: camera_pitch and camera_roll do.",
        fixed=True,
    ),
    Rule(
        "base_frame_required",
        False,
        "true: frames are dropped until the static transform is known; false: the camera counts "
        "as level until then.",
        fixed=True,
    ),
    Rule(
        "camera_pitch",
        0.0,
        "Pitch of all cameras: positive, they look down.",
        unit="rad",
        low=-MAX_PITCH,
        high=MAX_PITCH,
        fixed=True,
    ),
    Rule(
        "camera_roll",
        0.0,
        "Roll of all cameras: positive, they lean to the right.",
        unit="rad",
        low=-math.pi,
        high=math.pi,
        fixed=True,
    ),
    Rule(
        "field_of_view",
        0.0,
        "Horizontal field of view of the network's level view, 10 to 140 degrees; 0: that of the "
        "camera, within 40 and 100 degrees.",
        unit="degrees",
        low=0.0,
        high=VIEWS[1],
        fixed=True,
    ),
    Rule(
        "image_transport",
        "raw",
        "raw: sensor_msgs/Image on image; compressed: CompressedImage on image/compressed.",
        choices=("raw", "compressed"),
        fixed=True,
    ),
    AUTOSTART,
    Rule(
        "score_threshold",
        SCORE_THRESHOLD,
        "Objects below this score are left out.",
        low=0.0,
        high=1.0,
    ),
    Rule("max_detections", MAX_DETECTIONS, "Most objects per image.", low=1, high=MAX_DETECTIONS),
    Rule(
        "grm",
        "consistent",
        "Position solver: consistent (nine keypoints, unbiased) or published (eight corners, in "
        "the frame of K: as the released code, which ignores the fourth column of P).",
        choices=("consistent", "published"),
    ),
    Rule("classes", [""], "Class names to publish; an empty name: every class of the weights."),
    MARKER_LIFETIME,
)


@dataclass(frozen=True)
class FixedSettings:
    """The parameters that are read when the node is configured."""

    weights: str
    device: str
    backend: str
    precision: str
    threads: int
    cameras: list[str]
    rectified: str | bool
    base_frame: str
    base_frame_required: bool
    camera_pitch: float
    camera_roll: float
    field_of_view: float
    image_transport: str
    autostart: bool


@dataclass(frozen=True)
class LiveSettings:
    """The parameters that can change while the node runs. The node reads them for every frame."""

    score_threshold: float
    max_detections: int
    grm: str
    classes: list[str]
    marker_lifetime: float


Settings = TypeVar("Settings")


def declare(node: Node, rules: Sequence[Rule] = PARAMETERS) -> None:
    """Declare parameters on a node. Changes that break a rule are rejected.

    Raises:
        rclpy.exceptions.InvalidParameterValueException: a start value breaks its rule.
        rclpy.exceptions.InvalidParameterTypeException: a start value has another type.
    """
    node.add_on_set_parameters_callback(check)
    for rule in rules:
        node.declare_parameter(rule.name, rule.default, _descriptor(rule))


def read(node: Node, settings: type[Settings]) -> Settings:
    """The current values of the parameters in a settings class."""
    return settings(**{f.name: node.get_parameter(f.name).value for f in fields(settings)})


def check(parameters: Sequence[Parameter]) -> SetParametersResult:
    """Reject values that break a rule. rclpy checks type and range."""
    choices = {rule.name: rule.choices for rule in PARAMETERS if rule.choices}
    for parameter in parameters:
        allowed = choices.get(parameter.name)
        value = parameter.value
        if allowed and not any(type(value) is type(c) and value == c for c in allowed):
            reason = f"{parameter.name} is {parameter.value!r}, expected {_names(allowed, ' or ')}"
            return SetParametersResult(successful=False, reason=reason)
        if parameter.name == "field_of_view" and 0 < parameter.value < VIEWS[0]:
            reason = f"field_of_view is {parameter.value:g}, expected 0, or {VIEWS[0]:g} or more"
            return SetParametersResult(successful=False, reason=reason)
        if parameter.name == "cameras" and not _are_cameras(parameter.value):
            reason = f"cameras is {list(parameter.value)}, expected different names of letters, "
            reason += "digits and _, which begin with a letter, or one empty name"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def changes_fixed(
    parameters: Sequence[Parameter], rules: Sequence[Rule] = PARAMETERS
) -> list[str]:
    """Names of those parameters that are read when the node is configured."""
    fixed = {rule.name for rule in rules if rule.fixed}
    return [parameter.name for parameter in parameters if parameter.name in fixed]


def unknown(
    node: Node, rules: Sequence[Rule] = PARAMETERS, program: str = "km3d_node"
) -> Iterator[str]:
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


def _names(choices: Sequence[str | bool], separator: str) -> str:
    """The choices as in a parameter file."""
    return separator.join(str(c).lower() if isinstance(c, bool) else c for c in choices)


def _are_cameras(names: Sequence[str]) -> bool:
    tokens = all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in names)
    return list(names) == [""] or (len(set(names)) == len(names) > 0 and tokens)


def _descriptor(rule: Rule) -> ParameterDescriptor:
    description = f"{rule.description} Unit: {rule.unit}." if rule.unit else rule.description
    descriptor = ParameterDescriptor(description=description)
    if rule.choices:
        descriptor.additional_constraints = f"one of: {_names(rule.choices, ', ')}"
        descriptor.dynamic_typing = len({type(choice) for choice in rule.choices}) > 1
    if rule.low is None:
        return descriptor
    if isinstance(rule.default, int):
        descriptor.integer_range = [IntegerRange(from_value=rule.low, to_value=rule.high)]
    else:
        span = FloatingPointRange(from_value=rule.low, to_value=rule.high)
        descriptor.floating_point_range = [span]
    return descriptor
