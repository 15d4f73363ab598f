"""Where a training starts from: the specification and the first weights of an architecture."""

from __future__ import annotations

from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.lite import Lite
from km3d_ros.network.spec import HEAD_CHANNELS, ModelSpec

DIMENSION_MEAN = ((1.53, 1.63, 3.88), (1.76, 0.66, 0.84), (1.74, 0.60, 1.76))
"""Height, width, length in metres of KITTI's cars, pedestrians and cyclists."""
DIMENSION_SPREAD = ((0.09, 0.065, 0.115), (0.065, 0.2, 0.27), (0.055, 0.2, 0.10))
"""Their relative standard deviations."""
LITE_LEVELS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "channel_order": "rgb"}
"""How the ImageNet weights of EfficientNet-Lite0 want their pixels."""


def new_spec(architecture: str, input_size: tuple[int, int]) -> ModelSpec:
    """What a new model of an architecture says about itself; input_size: (height, width)."""
    levels = LITE_LEVELS if architecture == "lite" else {}
    return ModelSpec(
        architecture=architecture,
        heads=tuple(HEAD_CHANNELS),
        input_size=input_size,
        dimension_mean=DIMENSION_MEAN,
        dimension_spread=DIMENSION_SPREAD,
        **levels,
    )


def new_model(spec: ModelSpec) -> KM3DNet:
    """A model to be trained: `lite` with ImageNet features, the others from random weights."""
    model = KM3DNet(spec)
    if isinstance(model.backbone, Lite):
        model.backbone.load_imagenet()
        model.backbone.freeze_early_stages()
    return model
