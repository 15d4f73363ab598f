"""Where a training starts from: the specification and the first weights of an architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.lite import Lite
from km3d_ros.network.spec import HEAD_CHANNELS, ModelSpec

DIMENSION_MEAN = ((1.53, 1.63, 3.88), (1.76, 0.66, 0.84), (1.74, 0.60, 1.76))
"""Height, width, length in metres of KITTI's cars, pedestrians and cyclists."""
DIMENSION_SPREAD = ((0.09, 0.065, 0.115), (0.065, 0.2, 0.27), (0.055, 0.2, 0.10))
"""Their relative standard deviations."""
LITE_LEVELS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "channel_order": "rgb"}
"""How the ImageNet weights of EfficientNet-Lite0 want their pixels."""


def new_spec(architecture: str, input_size: tuple[int, int]) -> ModelSpec:
    """What a new model of an architecture says about itself; input_size: (height, width).

    Raises:
        InputError: no such architecture.
    """
    if architecture not in BACKBONES:
        known = ", ".join(sorted(BACKBONES))
        raise InputError(f"architecture {architecture!r} is not one of {known}")
    levels = LITE_LEVELS if architecture == "lite" else {}
    return ModelSpec(
        architecture=architecture,
        heads=tuple(HEAD_CHANNELS),
        head_width=BACKBONES[architecture].head_width,
        input_size=input_size,
        dimension_mean=DIMENSION_MEAN,
        dimension_spread=DIMENSION_SPREAD,
        **levels,
    )


def new_model(spec: ModelSpec) -> KM3DNet:
    """A model to be trained: `lite` with ImageNet features, the others from random weights."""
    model = _untrained(spec)
    if isinstance(model.backbone, Lite):
        model.backbone.load_imagenet()
    return model


def from_weights(
    path: Path, input_size: tuple[int, int] | None = None
) -> tuple[KM3DNet, ModelSpec]:
    """A model that goes on from a checkpoint; heads that it lacks start from random weights.

    input_size: (height, width), where it shall not be that of the checkpoint.

    Raises:
        InputError: as of `checkpoint.load`.
    """
    trained, spec = checkpoint.load(path)
    spec = replace(spec, heads=tuple(HEAD_CHANNELS), input_size=input_size or spec.input_size)
    model = _untrained(spec)
    model.load_state_dict(trained.state_dict(), strict=False)
    return model, spec


def _untrained(spec: ModelSpec) -> KM3DNet:
    """Random weights; what a training leaves as it is does not learn."""
    model = KM3DNet(spec)
    if isinstance(model.backbone, Lite):
        model.backbone.freeze_generic_filters()
    return model
