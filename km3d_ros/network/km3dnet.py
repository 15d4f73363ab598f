"""KM3D-Net (arXiv 2009.00764): a backbone at stride 4 and one small head per quantity.

The regression heads are needed only where objects are. `KM3DNet.regress` evaluates them there,
from the 3×3 neighbourhood of each cell. The result equals the dense maps at these cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from km3d_ros.network.dla import DLA34
from km3d_ros.network.lite import Lite
from km3d_ros.network.resnet import ResNet18
from km3d_ros.network.spec import ARCHITECTURES, HEAD_CHANNELS, ModelSpec

BACKBONES: dict[str, Callable[[], nn.Module]] = dict(
    zip(ARCHITECTURES, (DLA34, ResNet18, Lite), strict=True)
)
"""Architectures by name: modules that map (B, 3, H, W) to stride 4, with `out_channels` and the
`head_width` that goes with them."""

PEAK_PRIOR = 0.1
"""Initial probability of a peak (focal loss, arXiv 1708.02002, section 3.3)."""


def head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, ReLU, 1×1 convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, outputs, 1)
    )


class KM3DNet(nn.Module):
    """The network that a `ModelSpec` describes."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.backbone = BACKBONES[spec.architecture]()
        inputs, width = self.backbone.out_channels, spec.head_width
        channels = HEAD_CHANNELS | {"hm": len(spec.classes)}
        self.heads = nn.ModuleDict(
            {name: head(inputs, width, channels[name]) for name in spec.heads}
        )
        prior = -math.log((1 - PEAK_PRIOR) / PEAK_PRIOR)
        for name in ("hm", "hm_hp"):
            if name in self.heads:
                nn.init.constant_(self.heads[name][-1].bias, prior)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Every head as a dense map.

        images: (B, 3, H, W), normalised by the spec; H and W are multiples of 32.
        Returns (B, channels, H/4, W/4) by head name.
        """
        features = self.features(images)
        return {name: layers(features) for name, layers in self.heads.items()}

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images to the (B, C, H/4, W/4) features of the heads."""
        return self.backbone(images)

    def heatmap(self, features: Tensor) -> Tensor:
        """(B, C, h, w) features to (B, classes, h, w) logits of the 2D box centres."""
        return self.heads["hm"](features)

    def regress(
        self, features: Tensor, batch: Tensor, x: Tensor, y: Tensor, names: Iterable[str]
    ) -> dict[str, Tensor]:
        """The named heads at M cells.

        features: (B, C, h, w); batch, x, y: (M,) int64, the image and the cell of each object.
        Returns (M, channels) by head name, equal to the dense map at those cells.
        """
        patches = _patches(features, batch, x, y)
        return {name: _at_cells(self.heads[name], patches) for name in names}


def _patches(features: Tensor, batch: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The 3×3 neighbourhoods of M cells, (M, C·9) in the order of 3×3 weights; 0 outside."""
    height, width = features.shape[-2:]
    around = torch.arange(-1, 2, device=features.device)
    rows, columns = y[:, None, None] + around[:, None], x[:, None, None] + around
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    cells = (batch[:, None, None] * height + rows) * width + columns
    pixels = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    patches = torch.where(inside[..., None], pixels[cells], 0)
    return patches.permute(0, 3, 1, 2).flatten(1)


def _at_cells(layers: nn.Sequential, patches: Tensor) -> Tensor:
    """A head on (M, C·9) patches in the order of its 3×3 weights, in the precision of the head."""
    first, _, last = layers
    patches = patches.to(first.weight.dtype)
    hidden = F.relu(F.linear(patches, first.weight.flatten(1), first.bias))
    return F.linear(hidden, last.weight.flatten(1), last.bias)
