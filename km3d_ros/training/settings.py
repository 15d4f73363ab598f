"""The options of a training; `km3d train` and `km3d adapt` have one for every field here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from km3d_ros.errors import InputError
from km3d_ros.network.spec import HEAD_CHANNELS

PRECISIONS = ("auto", "float32", "bfloat16")


def _option(default: Any, about: str) -> Any:
    """A field of a dataclass; `about` is its text in --help."""
    return field(default=default, metadata={"help": about})


@dataclass(frozen=True)
class Plan:
    """How long, how fast and on how many images at once to train.

    The batch sizes count the images of all processes together.

    Raises:
        InputError: a value out of its range.
    """

    steps: int = _option(12000, "optimiser steps; a resumed training may be given another number")
    batch_size: int = _option(16, "labelled images per step, of all processes")
    unlabelled_batch_size: int = _option(8, "unlabelled images per step, two views of each")
    boxes_batch_size: int = _option(8, "images with 2D boxes per step, two views of each")
    learning_rate: float = _option(
        1e-3, "learning rate of new layers for AdamW; pretrained layers have half of it"
    )
    precision: str = _option(
        "auto",
        "number format of the convolutions: float32, bfloat16 or auto (bfloat16 on a GPU); "
        "weights and losses are float32",
    )
    seed: int = _option(0, "seed of new layers, of the order of the frames and of their views")
    workers: int = _option(1, "processes that load frames, for each process that trains")
    log_every: int = _option(50, "steps between lines of the log")
    save_every: int = _option(250, "steps between saved states")
    validate_every: int = _option(
        0, "steps between validations, the best of which is kept; 0: none before the end"
    )
    validation_frames: int = _option(200, "frames of a validation before the end")

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


@dataclass(frozen=True)
class Method:
    """The parts of the training method that can be changed; docs/experiments.md measures them.

    Raises:
        InputError: a value out of its range.
    """

    keypoint_dropout: float = _option(
        0.2, "probability that the GRM does without a keypoint; at least two stay"
    )
    depth_guided: bool = _option(
        True, "weight the keypoint loss by a function that grows with the distance of the object"
    )
    position_weight: float = _option(2.0, "final weight of the position loss; 0 leaves it out")
    consensus_weight: float = _option(
        1.0, "final weight of the consensus on images without 3D labels"
    )
    extent_weight: float = _option(
        1.0, "weight of the keypoint extent that 2D boxes teach; 0 leaves it out"
    )
    flip: bool = _option(True, "mirror half of the views")
    photometric: bool = _option(
        True,
        "vary light, colour, blur, noise and compression of the views; otherwise exposure and "
        "white balance only",
    )
    trained: str = _option(
        "all", "all, or the name of one head: only this head is trained, the rest stays fixed"
    )

    def __post_init__(self):
        if not 0 <= self.keypoint_dropout <= 1:
            raise InputError(f"keypoint_dropout is {self.keypoint_dropout}, expected 0 to 1")
        if self.trained not in ("all", *HEAD_CHANNELS):
            known = ", ".join(("all", *HEAD_CHANNELS))
            raise InputError(f"trained is {self.trained!r}, expected one of {known}")
