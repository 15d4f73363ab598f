"""The specification and the first weights of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.lite import Lite
from km3d_ros.network.published import load_features
from km3d_ros.network.spec import HEAD_CHANNELS, ModelSpec
from km3d_ros.training.class_sizes import KITTI_SIZES, Size

LITE_LEVELS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
"""Pixel levels that the ImageNet weights of EfficientNet-Lite0 expect."""


def new_spec(
    architecture: str, input_size: tuple[int, int], sizes: Mapping[str, Size] = KITTI_SIZES
) -> ModelSpec:
    """The specification of a new model, with the channel order RGB of ImageNet weights.

    input_size: (height, width) in pixels.
    sizes: the classes, and the sizes of their objects.

    Raises:
        InputError: no such architecture.
    """
    if architecture not in BACKBONES:
        known = ", ".join(sorted(BACKBONES))
        raise InputError(f"architecture {architecture!r} is not one of {known}")
    spec = ModelSpec(
        architecture=architecture,
        heads=tuple(HEAD_CHANNELS),
        head_width=BACKBONES[architecture].head_width,
        input_size=input_size,
        channel_order="rgb",
        **(LITE_LEVELS if architecture == "lite" else {}),
    )
    return _with_classes(spec, sizes)


def new_model(spec: ModelSpec, features: Path | None = None) -> KM3DNet:
    """A model to be trained.

    `lite` has ImageNet features. The other backbones start from random weights, or from the
    features of an image classifier (`published.load_features`, whose errors are raised).
    """
    model = _untrained(spec)
    if features is not None:
        load_features(model.backbone, spec.architecture, features)
    elif isinstance(model.backbone, Lite):
        model.backbone.load_imagenet()
    return model


def from_weights(
    path: Path, input_size: tuple[int, int] | None = None, sizes: Mapping[str, Size] | None = None
) -> tuple[KM3DNet, ModelSpec]:
    """A model with the weights of a checkpoint. Heads that it lacks start from random weights.

    input_size: (height, width) instead of that of the checkpoint.
    sizes: classes instead of those of the checkpoint. Classes that the checkpoint knows keep
        their weights and sizes; the others start from random weights.

    Raises:
        InputError: as of `checkpoint.load`; or sizes in metres with other classes.
    """
    trained, former = checkpoint.load(path)
    spec = replace(former, heads=tuple(HEAD_CHANNELS), input_size=input_size or former.input_size)
    weights = trained.state_dict()
    if sizes is not None:
        spec = _with_classes(spec, dict(sizes) | _sizes_of(former, sizes))
    model = _untrained(spec)
    if spec.classes != former.classes:
        for name in ("heads.hm.2.weight", "heads.hm.2.bias"):
            weights[name] = _by_class(weights[name], former, model.state_dict()[name], spec)
    model.load_state_dict(weights, strict=False)
    return model, spec


def _with_classes(spec: ModelSpec, sizes: Mapping[str, Size]) -> ModelSpec:
    return replace(
        spec,
        classes=tuple(sizes),
        dimension_mean=tuple(size.mean for size in sizes.values()),
        dimension_spread=tuple(size.spread for size in sizes.values()),
    )


def _sizes_of(spec: ModelSpec, wanted: Mapping[str, Size]) -> dict[str, Size]:
    """The sizes of a checkpoint for those wanted classes that it has."""
    if not spec.dimension_mean:
        raise InputError(
            "the classes of published weights cannot be changed: their sizes are in metres, "
            "expected sizes relative to the mean of a class"
        )
    known = zip(spec.classes, spec.dimension_mean, spec.dimension_spread, strict=True)
    return {name: Size(mean, spread) for name, mean, spread in known if name in wanted}


def _by_class(
    trained: torch.Tensor, former: ModelSpec, new: torch.Tensor, spec: ModelSpec
) -> torch.Tensor:
    """Values (classes, ...): the trained ones where both specifications have the class."""
    rows = [
        trained[former.classes.index(name)] if name in former.classes else new[i]
        for i, name in enumerate(spec.classes)
    ]
    return torch.stack(rows)


def _untrained(spec: ModelSpec) -> KM3DNet:
    """Random weights; filters that a training leaves unchanged are frozen."""
    model = KM3DNet(spec)
    if isinstance(model.backbone, Lite):
        model.backbone.freeze_generic_filters()
    return model
