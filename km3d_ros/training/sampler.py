"""The views of each training step, as a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Kind(IntEnum):
    """The labels of a frame: none, 3D boxes, or 2D boxes."""

    UNLABELLED = 0
    LABELLED = 1
    BOXED = 2


class Key(NamedTuple):
    """A frame of a kind in an epoch. A labelled frame has one view, others have two."""

    kind: Kind
    epoch: int
    index: int


class StepOrder(Sampler):
    """The keys of each step from `start` to `steps`.

    Every epoch is another permutation of the frames, and a step may span two epochs. A resumed
    training sees the views that the interrupted one would have seen. Each of several processes
    (`ranks`) has its share of every step.

    kinds: by kind, the number of frames and the number of frames in a step.
    """

    def __init__(
        self,
        kinds: Mapping[Kind, tuple[int, int]],
        start: int,
        steps: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ):
        self.kinds = dict(kinds)
        self.start, self.steps, self.seed = start, steps, seed
        self.rank, self.ranks = rank, ranks

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.keys, range(self.start, self.steps))

    def keys(self, step: int) -> list[Key]:
        """The keys of one step, kind by kind."""
        return [
            key for kind, share in self.kinds.items() for key in self._keys(step, kind, *share)
        ]

    def _keys(self, step: int, kind: Kind, frames: int, count: int) -> list[Key]:
        positions = range(step * count + self.rank, (step + 1) * count, self.ranks)
        return [
            Key(kind, p // frames, int(_order(self.seed, kind, p // frames, frames)[p % frames]))
            for p in positions
        ]


@lru_cache(maxsize=6)
def _order(seed: int, kind: Kind, epoch: int, frames: int) -> np.ndarray:
    return np.random.default_rng((seed, kind, epoch)).permutation(frames)
