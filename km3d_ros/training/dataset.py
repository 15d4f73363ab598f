"""Frames as training batches: every epoch another view of every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import KittiObject
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.preprocess import input_affine, warp
from km3d_ros.network.spec import STRIDE, ModelSpec
from km3d_ros.training.augment import kept_keypoints, mirrored, random_view, recoloured
from km3d_ros.training.method import Method
from km3d_ros.training.order import Key
from km3d_ros.training.targets import ObjectTargets, Targets, make_targets

CONSENSUS_PEAKS = 16
"""Objects of an unlabelled image that its two views compare."""


class Frames(Protocol):
    """Frames in random access: `name`, `image_path`, (3, 4) `projection`; labelled: `objects`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int): ...


@dataclass(frozen=True)
class Labelled:
    """A batch of labelled views; shapes of one view, with a leading B.

    images: (B, 3, H, W) uint8 in the spec's channel order.
    """

    images: Tensor
    targets: Targets


@dataclass(frozen=True)
class Pairs:
    """Two views each of P unlabelled images: the first views, then the second ones.

    images: (2P, 3, H, W) uint8.
    to_image: (2P, 2, 3) affine from cells to pixels of the camera, or of its mirror image.
    to_original: (2P, 2, 3) affine from cells to pixels of the camera, never mirrored.
    intrinsics: (2P, 3, 3) of the camera, or of its mirror image.
    mirrored: (2P,) bool.
    kept: (2P, K, 9) bool, the keypoints that the GRM may use of each of K objects.
    """

    images: Tensor
    to_image: Tensor
    to_original: Tensor
    intrinsics: Tensor
    mirrored: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Batch:
    """What one step learns from; `pairs` is None without unlabelled images."""

    labelled: Labelled
    pairs: Pairs | None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch where a GPU copies it from without waiting; asked for by the loader."""
        return _each(self, Tensor.pin_memory)


class TrainingViews(Dataset):
    """Random views of labelled frames, and pairs of views of unlabelled ones.

    The item of a key is always the same.
    """

    def __init__(
        self,
        labelled: Frames,
        unlabelled: Frames | None,
        spec: ModelSpec,
        method: Method,
        seed: int,
    ):
        self.labelled, self.unlabelled = labelled, unlabelled
        self.spec, self.method, self.seed = spec, method, seed

    def __getitem__(self, key: Key) -> Labelled | Pairs | InputError:
        """A sample without batch dimension; or what is wrong with the frame.

        An error is returned, not raised: a loading process would bury it in its traceback.
        """
        rng = np.random.default_rng((self.seed, *key))
        try:
            return self._view(key.index, rng) if key.labelled else self._pair(key.index, rng)
        except InputError as error:
            return error

    def _view(self, index: int, rng: np.random.Generator) -> Labelled:
        frame = self.labelled[index]
        image = read_image(frame.image_path)
        pixels, view, camera, objects, _ = self._seen(image, frame.projection, frame.objects, rng)
        targets = make_targets(objects, camera, view, self.spec)
        kept = kept_keypoints(len(targets.objects), self.method.keypoint_dropout, rng)
        objects = replace(targets.objects, kept=targets.objects.keypoint_mask & kept)
        return Labelled(pixels, replace(targets, objects=objects))

    def _pair(self, index: int, rng: np.random.Generator) -> Pairs:
        frame = self.unlabelled[index]
        image = read_image(frame.image_path)
        first, second = (self._one_of_two(image, frame.projection, rng) for _ in range(2))
        return Pairs(*(torch.stack(both) for both in zip(first, second, strict=True)))

    def _one_of_two(
        self, image: np.ndarray, projection: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, ...]:
        pixels, view, camera, _, is_mirrored = self._seen(image, projection, [], rng)
        to_image = np.linalg.inv(np.vstack((view / STRIDE, (0, 0, 1))))
        back = np.diag([-1.0 if is_mirrored else 1.0, 1.0, 1.0])
        back[0, 2] = image.shape[1] - 1 if is_mirrored else 0
        return (
            pixels,
            torch.from_numpy(to_image[:2]).float(),
            torch.from_numpy((back @ to_image)[:2]).float(),
            camera.intrinsics.float(),
            torch.tensor(is_mirrored),
            kept_keypoints(CONSENSUS_PEAKS, self.method.keypoint_dropout, rng),
        )

    def _seen(
        self,
        image: np.ndarray,
        projection: np.ndarray,
        objects: list[KittiObject],
        rng: np.random.Generator,
    ) -> tuple[Tensor, np.ndarray, CameraModel, list[KittiObject], bool]:
        """A random view: (3, H, W) uint8, its affine, the camera, the objects, if mirrored."""
        is_mirrored = self.method.flip and rng.random() < 0.5
        if is_mirrored:
            image, projection, objects = mirrored(image, projection, objects)
        camera = CameraModel.from_projection(projection, *image.shape[1::-1])
        base = input_affine(camera, self.spec.input_size)
        view = random_view(base, rng, *self.spec.input_size)
        image = recoloured(warp(image, view, self.spec.input_size), rng)
        if self.spec.channel_order == "rgb":
            image = image[..., ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return pixels, view, camera, objects, is_mirrored


def collate(samples: list[Labelled | Pairs | InputError]) -> Batch | InputError:
    """Items of `TrainingViews` as one batch; the first error, if there is one."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    labelled = [sample for sample in samples if isinstance(sample, Labelled)]
    pairs = [sample for sample in samples if isinstance(sample, Pairs)]
    targets = [sample.targets for sample in labelled]
    return Batch(
        Labelled(
            torch.stack([sample.images for sample in labelled]),
            Targets(
                heatmap=torch.stack([t.heatmap for t in targets]),
                care=torch.stack([t.care for t in targets]),
                keypoint_heatmap=torch.stack([t.keypoint_heatmap for t in targets]),
                objects=ObjectTargets.cat([t.objects for t in targets]),
            ),
        ),
        _joined(pairs) if pairs else None,
    )


def _joined(pairs: list[Pairs]) -> Pairs:
    return Pairs(
        **{
            f.name: torch.stack([getattr(pair, f.name) for pair in pairs], dim=1).flatten(0, 1)
            for f in fields(Pairs)
        }
    )


def _each(part, function: Callable[[Tensor], Tensor]):
    """A nest of dataclasses of tensors with a function applied to every tensor."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return function(part)
    return replace(part, **{f.name: _each(getattr(part, f.name), function) for f in fields(part)})
