"""The specification of a set of weights, which is stored with them."""

from __future__ import annotations

from dataclasses import dataclass, field

CLASSES = ("Car", "Pedestrian", "Cyclist")

ARCHITECTURES = ("dla_34", "res_18", "lite")
"""Names of the backbones."""

HEAD_CHANNELS = {
    "hm": len(CLASSES),
    "hps": 18,
    "dim": 3,
    "rot": 8,
    "prob": 1,
    "wh": 2,
    "reg": 2,
    "hm_hp": 9,
    "hp_offset": 2,
    "depth_error": 1,
}
"""Channels of every head, by its published name (`depth_error` is ours); `hm` grows with the
classes of a model."""

INFERENCE_HEADS = ("hm", "hps", "dim", "rot", "prob")
"""The heads from which detections are computed; all weights have them."""

OBJECT_HEADS = (*INFERENCE_HEADS[1:], "depth_error", "wh", "reg")
"""Heads that are read at the peaks, if the weights have them. Heads in neither tuple only help
training."""

TYPICAL_DEPTH_ERROR = 0.04
"""Relative depth error at the value 0 of the head `depth_error`, which codes its logarithm."""

STRIDE = 4
"""Input pixels per output cell."""

MAX_INPUT_PIXELS = 2**23
"""Pixels of the largest network input; 4K fits."""

MAX_DETECTIONS = 100
"""Largest number of objects of an image. Every image gives this number of rows."""


@dataclass(frozen=True)
class Noise:
    """Parameters of the covariance of a detection.

    Four standard deviations, of an object with an expected depth error of TYPICAL_DEPTH_ERROR.
    They grow with a power of that error. The defaults come from weights that were trained on Town.

    sideways, upright: common error of the keypoints, relative to the object's height in the image.
    size: relative error of the predicted box size, or of the spread of the keypoints.
    yaw: error of the predicted yaw in radians.
    power: of the expected depth error.
    """

    sideways: float = 0.035
    upright: float = 0.015
    size: float = 0.05
    yaw: float = 0.05
    power: float = 1.1


@dataclass(frozen=True)
class ModelSpec:
    """Architecture, preprocessing and coding of one set of weights.

    architecture: one of `ARCHITECTURES`.
    classes: class names in the order of the heatmap channels.
    heads: names of the heads that the weights contain.
    head_width: channels between the 3×3 and the 1×1 convolution of each head.
    input_size: (height, width) of the network input in pixels; multiples of 32.
    channel_order: "bgr" or "rgb", the channel order of the network input.
    mean, std: per channel in `channel_order`, for pixel values scaled to [0, 1].
    dimension_mean, dimension_spread: per class (height, width, length). Where given, the `dim`
        head codes log(size / mean) / spread; where empty, it is metres (published weights).
    training: free-form summary of how the weights came to be (command, seed, figures).
    """

    architecture: str
    classes: tuple[str, ...] = CLASSES
    heads: tuple[str, ...] = INFERENCE_HEADS
    head_width: int = 64
    input_size: tuple[int, int] = (384, 1280)
    channel_order: str = "bgr"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dimension_mean: tuple[tuple[float, float, float], ...] = ()
    dimension_spread: tuple[tuple[float, float, float], ...] = ()
    noise: Noise = field(default_factory=Noise)
    training: dict = field(default_factory=dict)
