"""KITTI-format folders as training batches: every epoch another view of every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from km3d_ros.data.kitti import KittiDataset, read_image
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.preprocess import input_affine, warp
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training.augment import mirrored, random_view, recoloured
from km3d_ros.training.targets import ObjectTargets, Targets, make_targets


@dataclass(frozen=True)
class Batch:
    """images: (B, 3, H, W) uint8 in the spec's channel order; heatmap, care: (B, C, h, w)."""

    images: Tensor
    heatmap: Tensor
    care: Tensor
    objects: ObjectTargets

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.heatmap.to(device, non_blocking=True),
            self.care.to(device, non_blocking=True),
            self.objects.to(device),
        )


class AugmentedFrames(Dataset):
    """Views of the frames of a dataset; item (epoch, i) is always the same view of frame i."""

    def __init__(self, frames: KittiDataset, spec: ModelSpec, seed: int):
        self.frames = frames
        self.spec = spec
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Targets] | InputError:
        """The (3, H, W) uint8 input and its targets; or what is wrong with the frame.

        An error is returned, not raised: a loading process would bury it in its traceback.
        """
        try:
            return self._view(*key)
        except InputError as error:
            return error

    def _view(self, epoch: int, index: int) -> tuple[Tensor, Targets]:
        rng = np.random.default_rng((self.seed, epoch, index))
        frame = self.frames[index]
        image, projection, objects = read_image(frame.image_path), frame.projection, frame.objects
        size = image.shape[1::-1]
        base = input_affine(size, self.spec.input_size)
        if rng.random() < 0.5:
            image, projection, objects = mirrored(image, projection, objects)
        view = random_view(base, rng, *self.spec.input_size)
        image = recoloured(warp(image, view, self.spec.input_size), rng)
        if self.spec.channel_order == "rgb":
            image = image[..., ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        camera = CameraModel.from_projection(projection, *size)
        return pixels, make_targets(objects, camera, view, self.spec)


class EpochOrder(Sampler):
    """Batches of (epoch, index) from step `start` to `steps`; the order depends on the seed alone.

    A resumed run goes on with the very batch that the interrupted one would have seen next.
    """

    def __init__(self, frames: int, batch_size: int, start: int, steps: int, seed: int):
        self.frames = frames
        self.batch_size = batch_size
        self.start = start
        self.steps = steps
        self.seed = seed

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start * self.batch_size
        epoch, order = -1, np.empty(0, int)
        for _ in range(len(self)):
            batch = []
            for _ in range(self.batch_size):
                if position // self.frames != epoch:
                    epoch = position // self.frames
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.frames)
                batch.append((epoch, int(order[position % self.frames])))
                position += 1
            yield batch


def collate(samples: list[tuple[Tensor, Targets] | InputError]) -> Batch | InputError:
    """Items of `AugmentedFrames` as one batch; the first error, if there is one."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    images, targets = zip(*samples, strict=True)
    return Batch(
        torch.stack(images),
        torch.stack([t.heatmap for t in targets]),
        torch.stack([t.care for t in targets]),
        ObjectTargets.cat([t.objects for t in targets]),
    )
