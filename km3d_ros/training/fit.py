"""The training loop: resumable at any checkpoint, deterministic in its data order."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.lite import Lite
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training.dataset import Batch, Frames, TrainingViews, collate
from km3d_ros.training.method import Method
from km3d_ros.training.objective import Objective
from km3d_ros.training.order import StepOrder

PRETRAINED_RATE = 0.5
"""Learning rate of pretrained layers relative to that of the new ones."""
WARM_UP_STEPS = 300
DECAY_PART = 0.4
"""The last part of a training, in which the learning rate falls to zero."""
AVERAGE_DECAY = 0.998
"""Of the moving average of the weights; less in the first steps (`warmed_up_average`)."""
GRADIENT_NORM = 20.0
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Plan:
    """How to train.

    steps: optimiser steps; a resumed training may be given another number.
    batch_size, unlabelled_batch_size: labelled and unlabelled images per step.
    learning_rate: of the new layers, for AdamW.
    log_every, save_every: steps between lines of the log, and between checkpoints.
    """

    steps: int
    batch_size: int = 16
    unlabelled_batch_size: int = 8
    learning_rate: float = 1e-3
    seed: int = 0
    workers: int = 1
    log_every: int = 50
    save_every: int = 250


def fit(
    model: KM3DNet,
    spec: ModelSpec,
    frames: KittiDataset,
    unlabelled: Frames | None,
    plan: Plan,
    method: Method,
    run: Path,
    device: torch.device,
) -> KM3DNet:
    """Train a model, going on from `run/state.pt` where there is one.

    With unlabelled frames, their consensus is part of every step.

    Writes `run/state.pt` (everything needed to resume) and `run/log.csv` (a line per
    `log_every` steps: step, learning rate and each loss).

    Returns:
        The exponential moving average of the weights, in evaluation mode.

    Raises:
        InputError: no frames, an unreadable one, or a state of another model.
        FloatingPointError: a loss is not finite; the last checkpoint stays.
    """
    if len(frames) == 0:
        raise InputError(f"{frames.root}: no frames to train on")
    trainer = Trainer(Objective(model, spec, method), plan, run, device)
    trainer.resume()
    order = StepOrder(
        (len(frames), plan.batch_size),
        (len(unlabelled), plan.unlabelled_batch_size) if unlabelled else (0, 0),
        trainer.step,
        plan.steps,
        plan.seed,
    )
    loader = DataLoader(
        TrainingViews(frames, unlabelled, spec, method, plan.seed),
        batch_sampler=order,
        num_workers=plan.workers,
        # Not forked: a process that has threads of its own may leave its children a held lock.
        multiprocessing_context="spawn" if plan.workers else None,
        collate_fn=collate,
        worker_init_fn=_single_threaded,
        pin_memory=device.type == "cuda",
    )
    progress = tqdm(loader, initial=trainer.step, total=plan.steps, unit="step", smoothing=0.05)
    try:
        for batch in progress:
            if isinstance(batch, InputError):
                raise batch
            losses = trainer.train_step(batch.to(device))
            if losses is not None:
                progress.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
    finally:
        progress.close()
    trainer.save()
    return trainer.average.module.eval()


class Trainer:
    """Model, optimiser, moving average and their state on disk."""

    def __init__(self, objective: Objective, plan: Plan, run: Path, device: torch.device):
        self.plan, self.run, self.device = plan, run, device
        self.step = 0
        self.objective = objective.to(device, memory_format=torch.channels_last).train()
        self.model = objective.model
        self.average = AveragedModel(self.model, multi_avg_fn=warmed_up_average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, plan.learning_rate), weight_decay=WEIGHT_DECAY
        )
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.sums: dict[str, Tensor] = {}

    def train_step(self, batch: Batch) -> dict[str, float] | None:
        """One optimiser step; the mean losses since the last line of the log where one is due."""
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * rate_factor(self.step, self.plan.steps)
        losses = self.objective(batch, self.step / self.plan.steps)
        total = sum(losses.values())
        if not math.isfinite(total.item()):
            raise FloatingPointError(f"step {self.step}: loss {_listed(losses)}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        if self.step % self.plan.save_every == 0:
            self.save()
        return self._log() if self.step % self.plan.log_every == 0 else None

    def save(self) -> None:
        """Write the state; the former one stays until the new one is complete."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        unfinished = self.run / "state.pt.part"
        torch.save(state, unfinished)
        unfinished.replace(self.run / "state.pt")

    def resume(self) -> None:
        """Take over the state on disk, if there is one."""
        path = self.run / "state.pt"
        if not path.exists():
            self.run.mkdir(parents=True, exist_ok=True)
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:  # torch raises whatever the damaged bytes lead to
            raise InputError(f"{path}: not a state of this training ({error})") from error
        self.step = state["step"]
        _drop_log_after(self.run / "log.csv", self.step)

    def _log(self) -> dict[str, float]:
        means = {name: float(total) / self.plan.log_every for name, total in self.sums.items()}
        self.sums = {}
        path = self.run / "log.csv"
        row = {"step": self.step, "rate": self.optimizer.param_groups[-1]["lr"], **means}
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        return means


def parameter_groups(model: KM3DNet, learning_rate: float) -> list[dict]:
    """Pretrained layers at a lower rate than new ones; frozen ones not at all."""
    backbone = model.backbone
    pretrained = set(backbone.pretrained_parameters()) if isinstance(backbone, Lite) else set()
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups[parameter in pretrained].append(parameter)
    return [
        {"params": groups[True], "lr": learning_rate * PRETRAINED_RATE},
        {"params": groups[False], "lr": learning_rate},
    ]


def warmed_up_average(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
    """One update of a moving average that forgets its first values sooner than its later ones."""
    count = int(updates)
    decay = min(AVERAGE_DECAY, (1 + count) / (10 + count))
    get_ema_multi_avg_fn(decay)(averaged, current, updates)


def rate_factor(step: int, steps: int) -> float:
    """Learning rate relative to its base: warm-up, constant, then a cosine down to zero."""
    start = steps * (1 - DECAY_PART)
    decay = max(0.0, (step - start) / max(1.0, steps - start))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, decay)))


def _listed(losses: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(1)


def _drop_log_after(path: Path, step: int) -> None:
    """Remove lines of steps that the resumed state has not seen; they will be written again."""
    if not path.exists():
        return
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(x for x in lines if int(x.split(",")[0]) <= step))
