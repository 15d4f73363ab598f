"""All that runs on the device, as one function of tensors (docs/design.md, Mathematics)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.inference.decode import (
    Objects,
    Peaks,
    decode,
    find_peaks,
    locate,
    pack,
    without_duplicates,
)
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network.folding import fold_batch_norms
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import MAX_DETECTIONS, OBJECT_HEADS, ModelSpec


class DetectorGraph(nn.Module):
    """From pixels and cameras to tables of objects. Only the size of the batch is variable.

    The backbone and the first layer of the heatmap run in `dtype`. The last layer of the heatmap,
    the regression heads and everything after them are float32: with a mantissa of 8 bits,
    neighbouring cells would have equal scores and keypoints would move by pixels.
    """

    def __init__(self, model: KM3DNet, spec: ModelSpec, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.spec = spec
        model = deepcopy(model).eval().requires_grad_(False)
        model.backbone = fold_batch_norms(model.backbone)
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        if spec.channel_order == "rgb":
            _swap_channels(model.backbone)
            mean, std = mean.flip(0), std.flip(0)
        model.backbone.to(dtype)
        model.heads["hm"][0].to(dtype)
        self._model = model.to(memory_format=torch.channels_last)
        self._dtype = dtype
        self.register_buffer("_scale", 1 / (255 * std))
        self.register_buffer("_shift", -mean / std)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._scale.device

    def forward(self, pixels: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
        """One table of `Detections`, (B, K, columns), for each method of `options.GRM`.

        K is MAX_DETECTIONS. Rows with the peak score 0 are padding. Rows of objects without a
        position are not finite. pixels, projection: the fields of `GraphInputs`.
        """
        objects = without_duplicates(self.read(*self.look(pixels)))
        found = locate(objects, Pinholes(projection[:, None]), self.spec.noise)
        return tuple(map(pack, found))

    def look(self, pixels: Tensor) -> tuple[Tensor, Peaks]:
        """Features (B, C, h, w) and the best peaks, of images (B, H, W, 3) uint8, BGR."""
        normalised = pixels.float() * self._scale + self._shift
        features = self._model.features(normalised.permute(0, 3, 1, 2).to(self._dtype))
        first, activation, last = self._model.heads["hm"]
        hidden = activation(first(features))
        return features, find_peaks(last(hidden.to(last.weight.dtype)), MAX_DETECTIONS)

    def read(self, features: Tensor, peaks: Peaks) -> Objects:
        """The objects (B, K) at these peaks."""
        image = torch.arange(features.shape[0], device=features.device)[:, None]
        image, x, y = (index.flatten() for index in (image.expand_as(peaks.x), peaks.x, peaks.y))
        names = [name for name in OBJECT_HEADS if name in self.spec.heads]
        heads = self._model.regress(features, image, x, y, names)
        heads = {name: values.unflatten(0, peaks.x.shape) for name, values in heads.items()}
        return decode(peaks, heads, self.spec)


def _swap_channels(backbone: nn.Module) -> None:
    """Change the first layer so that a network for RGB images takes BGR images."""
    first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    first.weight.copy_(first.weight.flip(1))


def tensors(inputs: GraphInputs) -> tuple[Tensor, ...]:
    """The memory of the inputs of a graph as tensors."""
    return tuple(map(torch.from_numpy, inputs.by_name().values()))
