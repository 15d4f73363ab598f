"""Which views a training step sees: a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Kind(IntEnum):
    """What is known about a frame: nothing, its 3D boxes, or its 2D boxes."""

    UNLABELLED = 0
    LABELLED = 1
    BOXED = 2


class Key(NamedTuple):
    """Frame `index` of a kind in its `epoch`-th turn: one view of it if labelled, else two."""

    kind: Kind
    epoch: int
    index: int


class StepOrder(Sampler):
    """The keys of each step from `start` to `steps`.

    Every epoch is another permutation of the frames, and a step may span two epochs. A resumed
    training goes on with the very views that the interrupted one would have seen next. Of several
    processes (`ranks`), each gets its share of the same steps.

    Args:
        kinds: number of frames, and how many of them a step sees, by kind.
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
