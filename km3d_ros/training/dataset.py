"""Training batches: each epoch has a different random view of each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from km3d_ros.data.kitti import Frame
from km3d_ros.data.level_view import level_view
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.network.spec import STRIDE, ModelSpec
from km3d_ros.training.augment import kept_keypoints, mirrored, random_view, recoloured
from km3d_ros.training.box_edges import mirrored_boxes
from km3d_ros.training.box_targets import BoxedTargets, join_box_targets, make_box_targets
from km3d_ros.training.panorama import Picture, as_picture, panorama
from km3d_ros.training.photometric import varied
from km3d_ros.training.sampler import Key, Kind
from km3d_ros.training.settings import Method
from km3d_ros.training.targets import ObjectTargets, Targets, make_targets

CONSENSUS_PEAKS = 16
"""Objects of an image without 3D labels that its two views compare."""


class Frames(Protocol):
    """Frames in random access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...


class Interleaved:
    """Frames of several data sets in turn, so that each data set is seen equally often."""

    def __init__(self, parts: Sequence[Frames]):
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts) * max(map(len, self.parts))

    def __getitem__(self, index: int) -> Frame:
        turn, part = divmod(index, len(self.parts))
        frames = self.parts[part]
        return frames[turn % len(frames)]


@dataclass(frozen=True)
class Sources:
    """The frames of a training: with 3D labels, without labels, and with 2D boxes."""

    labelled: Frames
    unlabelled: Frames | None = None
    boxed: Frames | None = None

    def of(self, kind: Kind) -> Frames | None:
        """The frames of a kind."""
        return getattr(self, kind.name.lower())


@dataclass(frozen=True)
class Labelled:
    """A batch of labelled views; shapes of one view, with a leading B.

    images: (B, 3, H, W) uint8 in the spec's channel order.
    """

    images: Tensor
    targets: Targets


@dataclass(frozen=True)
class Pairs:
    """Two views of each of P images without 3D labels: all first views, then all second views.

    images: (2P, 3, H, W) uint8.
    to_image: (2P, 2, 3) affine from cells to pixels of the camera, or of its mirror image.
    to_original: (2P, 2, 3) affine from cells to pixels of the camera, never mirrored.
    intrinsics: (2P, 3, 3) of the camera, or of its mirror image.
    mirrored: (2P,) bool.
    kept: (2P, K, 9) bool, the keypoints of each of K objects that the GRM may use.
    """

    images: Tensor
    to_image: Tensor
    to_original: Tensor
    intrinsics: Tensor
    mirrored: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Boxed:
    """Two views of one image with 2D boxes, and the targets of each."""

    pairs: Pairs
    targets: tuple[BoxedTargets, BoxedTargets]


@dataclass(frozen=True)
class Batch:
    """The input of one training step.

    pairs: of the unlabelled images and of those with 2D boxes; None if there are none.
    boxed: targets of those images of `pairs` that have 2D boxes; None if there are none.
    """

    labelled: Labelled
    pairs: Pairs | None
    boxed: BoxedTargets | None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; DataLoader calls this."""
        return _each(self, Tensor.pin_memory)


class TrainingViews(Dataset):
    """Random views of labelled frames, and pairs of views of other frames.

    A key always gives the same item.
    """

    def __init__(self, sources: Sources, spec: ModelSpec, method: Method, seed: int):
        self.sources, self.spec, self.method, self.seed = sources, spec, method, seed
        boxed = sources.boxed or ()
        # Frames without calibration are shown in panoramas with one another.
        self.stills = [i for i in range(len(boxed)) if boxed[i].projection is None]

    def __getitem__(self, key: Key) -> Labelled | Pairs | Boxed | InputError:
        """A sample without batch dimension, or the error of an unreadable frame.

        The error is returned because a loading process would add its traceback to a raised one.
        """
        rng = np.random.default_rng((self.seed, *key))
        make = {Kind.LABELLED: self._view, Kind.UNLABELLED: self._pair, Kind.BOXED: self._boxed}
        try:
            return make[key.kind](self.sources.of(key.kind)[key.index], rng)
        except InputError as error:
            return error

    def _view(self, frame: Frame, rng: np.random.Generator) -> Labelled:
        (image, objects), projection = level_view(frame), frame.projection
        if self._is_mirrored(rng):
            image, projection, objects = mirrored(image, projection, objects)
        pixels, view, camera = self._seen(image, projection, rng)
        targets = make_targets(objects, camera, view, self.spec)
        kept = kept_keypoints(len(targets.objects), self.method.keypoint_dropout, rng)
        objects = replace(targets.objects, kept=targets.objects.keypoint_mask & kept)
        return Labelled(pixels, replace(targets, objects=objects))

    def _pair(self, frame: Frame, rng: np.random.Generator) -> Pairs:
        return self._two_views(as_picture(frame), rng)[0]

    def _boxed(self, frame: Frame, rng: np.random.Generator) -> Boxed:
        if frame.projection is None:
            others = Subset(self.sources.boxed, self.stills)
            picture = panorama(frame, others, rng, self.spec.input_size)
        else:
            picture = as_picture(frame)
        return Boxed(*self._two_views(picture, rng))

    def _two_views(
        self, picture: Picture, rng: np.random.Generator
    ) -> tuple[Pairs, tuple[BoxedTargets, ...]]:
        views, targets = zip(*(self._one_of_two(picture, rng) for _ in range(2)), strict=True)
        return Pairs(*(torch.stack(both) for both in zip(*views, strict=True))), targets

    def _one_of_two(
        self, picture: Picture, rng: np.random.Generator
    ) -> tuple[tuple[Tensor, ...], BoxedTargets]:
        image, projection, boxes = picture
        width = image.shape[1]
        is_mirrored = self._is_mirrored(rng)
        if is_mirrored:
            image, projection, _ = mirrored(image, projection, [])
            boxes = mirrored_boxes(boxes, width)
        pixels, view, camera = self._seen(image, projection, rng)
        to_image = np.linalg.inv(np.vstack((view / STRIDE, (0, 0, 1))))
        back = np.diag([-1.0 if is_mirrored else 1.0, 1.0, 1.0])
        back[0, 2] = width - 1 if is_mirrored else 0
        tensors = (
            pixels,
            torch.from_numpy(to_image[:2]).float(),
            torch.from_numpy((back @ to_image)[:2]).float(),
            torch.from_numpy(camera.intrinsics).float(),
            torch.tensor(is_mirrored),
            kept_keypoints(CONSENSUS_PEAKS, self.method.keypoint_dropout, rng),
        )
        return tensors, make_box_targets(boxes, view, self.spec)

    def _is_mirrored(self, rng: np.random.Generator) -> bool:
        return self.method.flip and rng.random() < 0.5

    def _seen(
        self, image: np.ndarray, projection: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray, CameraModel]:
        """A random view: pixels (3, H, W) uint8, its affine (2, 3) and the camera."""
        camera = CameraModel.from_projection(projection, *image.shape[1::-1])
        view = virtual_camera(camera, self.spec.input_size)
        view = view.moved(random_view(rng, *self.spec.input_size))
        recolour = varied if self.method.photometric else recoloured
        image = recolour(view.warp(image), rng)
        if self.spec.channel_order == "rgb":
            image = image[..., ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return pixels, view.affine, camera


def collate(samples: list[Labelled | Pairs | Boxed | InputError]) -> Batch | InputError:
    """Items of `TrainingViews` as one batch, or the first error among them."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    labelled = [sample for sample in samples if isinstance(sample, Labelled)]
    boxed = [sample for sample in samples if isinstance(sample, Boxed)]
    pairs = [sample.pairs for sample in boxed]
    pairs += [sample for sample in samples if isinstance(sample, Pairs)]
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
        _joined_targets(boxed, len(pairs)) if boxed else None,
    )


def _joined_targets(boxed: list[Boxed], pairs: int) -> BoxedTargets:
    """The targets of the boxed images, which are the first ones of `pairs` pairs."""
    first, second = zip(*(sample.targets for sample in boxed), strict=True)
    views = [*range(len(boxed)), *range(pairs, pairs + len(boxed))]
    return join_box_targets([*first, *second], views)


def _joined(pairs: list[Pairs]) -> Pairs:
    parts = ([getattr(pair, f.name) for pair in pairs] for f in fields(Pairs))
    return Pairs(*(torch.stack(part, dim=1).flatten(0, 1) for part in parts))


def _each(part, function: Callable[[Tensor], Tensor]):
    """A nest of dataclasses of tensors with a function applied to every tensor."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return function(part)
    return replace(part, **{f.name: _each(getattr(part, f.name), function) for f in fields(part)})
