"""Learning rates by layer and step, and the moving average of the weights."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from km3d_ros.network.km3dnet import KM3DNet

PRETRAINED_RATE = 0.5
"""Learning rate of pretrained layers relative to that of the new ones."""
WARM_UP_STEPS = 300
DECAY_PART = 0.4
"""Last part of a training, relative to its length, in which the learning rate falls to 0."""
AVERAGE_DECAY = 0.998
"""Decay of the moving average of the weights; smaller in the first steps."""
WEIGHT_DECAY = 1e-4


def new_optimizer(model: KM3DNet, learning_rate: float) -> AdamW:
    """AdamW with a lower learning rate for the layers that have ImageNet features."""
    pretrained = set(getattr(model.backbone, "pretrained", ()))
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups[parameter in pretrained].append(parameter)
    rates = {True: learning_rate * PRETRAINED_RATE, False: learning_rate}
    return AdamW(
        [{"params": groups[kind], "lr": rate, "base_rate": rate} for kind, rate in rates.items()],
        weight_decay=WEIGHT_DECAY,
    )


def set_rate(optimizer: AdamW, step: int, steps: int) -> None:
    """Set the learning rate of every group of `new_optimizer` for a step."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * rate_factor(step, steps)


def rate_factor(step: int, steps: int) -> float:
    """Learning rate relative to its base: warm-up, constant, then a cosine down to 0."""
    start = steps * (1 - DECAY_PART)
    decay = max(0.0, (step - start) / max(1.0, steps - start))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, decay)))


def new_average(model: nn.Module) -> AveragedModel:
    """The moving average of the weights and batch statistics of a model."""
    return AveragedModel(model, multi_avg_fn=warmed_up_average, use_buffers=True)


def warmed_up_average(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
    """One update of a moving average whose decay grows to `AVERAGE_DECAY` in the first steps."""
    count = int(updates)
    decay = min(AVERAGE_DECAY, (1 + count) / (10 + count))
    get_ema_multi_avg_fn(decay)(averaged, current, updates)
