"""How long, how fast and on how much at once to train."""

from __future__ import annotations

import math
from dataclasses import dataclass

from km3d_ros.errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """How to train, apart from the data and the method.

    steps: optimiser steps; a resumed training may be given another number.
    batch_size: labelled images per step; this and the next two count those of all processes.
    unlabelled_batch_size: unlabelled images per step, two views of each.
    boxes_batch_size: images with 2D boxes per step, two views of each.
    learning_rate: of new layers, for AdamW; pretrained layers have half of it.
    precision: of the convolutions, float32, bfloat16 or auto (bfloat16 on a GPU); weights and
        losses are float32.
    seed: of new layers, the order of the frames and their views.
    workers: processes that load frames, for each process that trains.
    log_every: steps between lines of the log.
    save_every: steps between saved states.
    validate_every: steps between validations, the best of which is kept; 0: none before the end.
    validation_frames: frames of a validation before the end.
    """

    steps: int = 12000
    batch_size: int = 16
    unlabelled_batch_size: int = 8
    boxes_batch_size: int = 8
    learning_rate: float = 1e-3
    precision: str = "auto"
    seed: int = 0
    workers: int = 1
    log_every: int = 50
    save_every: int = 250
    validate_every: int = 0
    validation_frames: int = 200

    def __post_init__(self):
        sizes = ("batch_size", "unlabelled_batch_size", "boxes_batch_size")
        for name in ("steps", *sizes, "log_every", "save_every", "validation_frames"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.precision not in PRECISIONS:
            known = " or ".join(PRECISIONS)
            raise InputError(f"precision is {self.precision!r}, expected {known}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}, expected a number above 0")
