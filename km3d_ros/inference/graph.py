"""All that runs on the device, as one function of tensors (docs/design.md, Mathematics)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.inference.decode import (
    Objects,
    Peaks,
    decode,
    find_peaks,
    locate,
    without_duplicates,
)
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.preprocess import input_affine, warp
from km3d_ros.inference.table import pack
from km3d_ros.network.folding import fold_batch_norms
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import MAX_DETECTIONS, OBJECT_HEADS, ModelSpec


@dataclass(frozen=True)
class GraphInputs:
    """B images and their cameras: the inputs of the graph. NumPy, float32 unless stated."""

    pixels: np.ndarray
    """(B, H, W, 3) uint8, BGR: images, scaled to the network input."""
    projection: np.ndarray
    """(B, 3, 4): P of each rectified camera."""
    image_size: np.ndarray
    """(B, 2): width and height of the camera images."""
    affine: np.ndarray
    """(B, 2, 3): from pixels of the camera image to those of the input, one scale for both."""

    @classmethod
    def of(
        cls, images: Sequence[np.ndarray], cameras: Sequence[CameraModel], spec: ModelSpec
    ) -> GraphInputs:
        """Scale camera images (h, w, 3), uint8, BGR, to the input of a model."""
        affines = [input_affine(camera, spec.input_size) for camera in cameras]
        warped = [warp(*view, spec.input_size) for view in zip(images, affines, strict=True)]
        return cls(
            pixels=_stack(warped, np.uint8),
            projection=_stack([camera.projection for camera in cameras], np.float32),
            image_size=_stack([camera.size for camera in cameras], np.float32),
            affine=_stack(affines, np.float32),
        )

    def __getitem__(self, images: slice) -> GraphInputs:
        """The inputs of some of the images."""
        return GraphInputs(**{name: array[images] for name, array in self.by_name().items()})

    def by_name(self) -> dict[str, np.ndarray]:
        """The arrays by the names of the graph's inputs, in their order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def tensors(self) -> tuple[Tensor, ...]:
        """The same memory as tensors."""
        return tuple(map(torch.from_numpy, self.by_name().values()))

    @classmethod
    def zeros(cls, count: int, spec: ModelSpec) -> GraphInputs:
        """Black images with a plausible camera, for warming up."""
        height, width = spec.input_size
        camera = CameraModel.from_intrinsics(
            [[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], width, height
        )
        image = np.zeros((height, width, 3), np.uint8)
        return cls.of([image] * count, [camera] * count, spec)


class DetectorGraph(nn.Module):
    """Pixels and cameras in, tables of objects out. All shapes but that of the batch are static.

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

    def forward(
        self, pixels: Tensor, projection: Tensor, image_size: Tensor, affine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The fields of `GraphInputs` to tables of `Objects` and `Detections`, (B, K, columns).

        K is MAX_DETECTIONS. Rows of peak score 0 fill up, and those of objects without a position
        are not finite.
        """
        objects = without_duplicates(self.read(*self.look(pixels)))
        found = self.locate(objects, projection, image_size, affine)
        return pack(objects), pack(found)

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

    def locate(
        self, objects: Objects, projection: Tensor, image_size: Tensor, affine: Tensor
    ) -> Detections:
        """The objects (B, K) in space."""
        cameras = Pinholes(projection[:, None], image_size[:, None])
        return locate(objects, affine[:, None], cameras, self.spec.noise, "consistent")


def _swap_channels(backbone: nn.Module) -> None:
    """Change the first layer so that a network for RGB images takes BGR images."""
    first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    first.weight.copy_(first.weight.flip(1))


def _stack(parts: list, dtype: type) -> np.ndarray:
    return np.stack([np.asarray(part, dtype) for part in parts])
