"""The published large backbone: DLA-34 and a deformable up-sampling neck to stride 4.

F. Yu et al., "Deep layer aggregation", arXiv 1707.06484; the neck with deformable convolutions:
X. Zhou et al., "Objects as points", arXiv 1904.07850, section 5 and figure 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from km3d_ros.network.deform import DeformableConv
from km3d_ros.network.layers import Block, conv_norm

CHANNELS = (16, 32, 64, 128, 256, 512)
"""Channels of the levels, at strides 1, 2, 4, 8, 16 and 32."""


def conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU."""
    return conv_norm(inputs, outputs, kernel, stride).append(nn.ReLU(inplace=True))


class Root(nn.Module):
    """Aggregates maps of one resolution: 1×1 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps with `inputs` channels together, to (B, outputs, H, W)."""
        return F.relu(self.bn(self.conv(torch.cat(maps, dim=1))))


class Tree(nn.Module):
    """Two blocks and the root that joins them with earlier maps of the same resolution.

    stride: 1 or 2; earlier: channels of the earlier maps, together.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, earlier: int = 0):
        super().__init__()
        self.shrink = nn.MaxPool2d(2) if stride == 2 else nn.Identity()
        self.project = conv_norm(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.tree1 = Block(inputs, outputs, stride)
        self.tree2 = Block(outputs, outputs, 1)
        self.root = Root(2 * outputs + earlier, outputs)

    def forward(self, x: Tensor, *earlier: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        first = self.tree1(x, self.project(self.shrink(x)))
        second = self.tree2(first, first)
        return self.root(second, first, *earlier)


class DoubleTree(nn.Module):
    """Two trees; the root of the second one joins the input and the first one too."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.tree1 = Tree(inputs, outputs, stride=2)
        self.tree2 = Tree(outputs, outputs, stride=1, earlier=inputs + outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        first = self.tree1(x)
        return self.tree2(first, F.max_pool2d(x, 2), first)


class DeformBlock(nn.Module):
    """Deformable convolution, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = DeformableConv(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return F.relu(self.norm(self.conv(x)))


class Merge(nn.ModuleDict):
    """Brings maps to the resolution of the first map and adds them, one after the other.

    channels: of the first map, and of all that comes out.
    coarser: channels and up-sampling factor of the other maps.
    """

    def __init__(self, channels: int, coarser: Sequence[tuple[int, int]]):
        super().__init__()
        for i, (inputs, factor) in enumerate(coarser, start=1):
            self[f"proj_{i}"] = DeformBlock(inputs, channels)
            self[f"up_{i}"] = bilinear_upsampling(channels, factor)
            self[f"node_{i}"] = DeformBlock(channels, channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse, to the first map and its sums with 1, 2, ... of the others."""
        sums = [maps[0]]
        for i, coarse in enumerate(maps[1:], start=1):
            fine = self[f"up_{i}"](self[f"proj_{i}"](coarse))
            sums.append(self[f"node_{i}"](fine + sums[-1]))
        return sums


class DLA34(nn.Module):
    """(B, 3, H, W) images to (B, 64, H/4, W/4) features; H and W are multiples of 32."""

    out_channels = CHANNELS[2]
    head_width = 256

    def __init__(self):
        super().__init__()
        self.stem = conv_norm_relu(3, CHANNELS[0], 7)
        self.level0 = conv_norm_relu(CHANNELS[0], CHANNELS[0], 3)
        self.level1 = conv_norm_relu(CHANNELS[0], CHANNELS[1], 3, stride=2)
        self.level2 = Tree(CHANNELS[1], CHANNELS[2], stride=2)
        self.level3 = DoubleTree(CHANNELS[2], CHANNELS[3])
        self.level4 = DoubleTree(CHANNELS[3], CHANNELS[4])
        self.level5 = Tree(CHANNELS[4], CHANNELS[5], stride=2, earlier=CHANNELS[4])
        self.neck = nn.ModuleDict(
            {
                "ida_0": Merge(256, [(512, 2)]),
                "ida_1": Merge(128, [(256, 2), (256, 2)]),
                "ida_2": Merge(64, [(128, 2), (128, 2), (128, 2)]),
            }
        )
        self.fuse = Merge(self.out_channels, [(128, 2), (256, 4)])
        # The deformable convolutions gather all channels of a pixel.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images to the features of the heads."""
        level2 = self.level2(self.level1(self.level0(self.stem(images))))
        level3 = self.level3(level2)
        level4 = self.level4(level3)
        maps = [self.level5(level4, F.max_pool2d(level4, 2))]
        merged = []
        for merge, finer in zip(self.neck.values(), (level4, level3, level2), strict=True):
            maps = merge([finer, *maps])
            merged.insert(0, maps[-1])
        return self.fuse(merged)[-1]


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution per channel, initialised to bilinear interpolation.

    factor: even.
    """
    layer = nn.ConvTranspose2d(
        channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False
    )
    distance = (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.weight += torch.outer(1 - distance, 1 - distance)
    return layer
