"""Which views a training step sees: a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Key(NamedTuple):
    """One view (labelled) or pair of views (unlabelled): frame `index` in its `epoch`-th turn."""

    labelled: bool
    epoch: int
    index: int


class StepOrder(Sampler):
    """The keys of each step from `start` to `steps`.

    Every epoch is another permutation of the frames, and a step may span two epochs. A resumed
    training goes on with the very views that the interrupted one would have seen next. Of several
    processes (`ranks`), each gets its share of the same steps.

    Args:
        labelled, unlabelled: frames and views per step of each kind; (0, 0) for none.
    """

    def __init__(
        self,
        labelled: tuple[int, int],
        unlabelled: tuple[int, int],
        start: int,
        steps: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ):
        self.kinds = ((True, *labelled), (False, *unlabelled))
        self.start, self.steps, self.seed = start, steps, seed
        self.rank, self.ranks = rank, ranks

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.keys, range(self.start, self.steps))

    def keys(self, step: int) -> list[Key]:
        """The keys of one step, those of labelled frames first."""
        return [key for kind in self.kinds for key in self._keys(step, *kind)]

    def _keys(self, step: int, labelled: bool, frames: int, count: int) -> list[Key]:
        positions = range(step * count + self.rank, (step + 1) * count, self.ranks)
        return [
            Key(
                labelled,
                p // frames,
                int(_order(self.seed, labelled, p // frames, frames)[p % frames]),
            )
            for p in positions
        ]


@lru_cache(maxsize=4)
def _order(seed: int, labelled: bool, epoch: int, frames: int) -> np.ndarray:
    return np.random.default_rng((seed, labelled, epoch)).permutation(frames)
