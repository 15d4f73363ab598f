"""One step after the other, and what is kept of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training import processes
from km3d_ros.training.dataset import Batch, Frames
from km3d_ros.training.method import Method
from km3d_ros.training.objective import Objective
from km3d_ros.training.optimizer import new_average, new_optimizer, set_rate
from km3d_ros.training.settings import Plan
from km3d_ros.training.state import Log, read_state, write_state

GRADIENT_NORM = 20.0


class Judge(NamedTuple):
    """What tells which of the models of a training is best.

    frames: what it judges by.
    figures: of a model, by name, None where there is none; the first one is always a number, and
        more is better.
    """

    frames: Frames
    figures: Callable[[KM3DNet], dict[str, float | None]]


class Trainer:
    """Model, optimiser, moving average, and what is kept of them on disk."""

    def __init__(
        self,
        model: KM3DNet,
        spec: ModelSpec,
        method: Method,
        plan: Plan,
        run: Path,
        device: torch.device,
        identity: dict,
        judge: Judge | None,
    ):
        self.spec, self.plan, self.run, self.device = spec, plan, run, device
        self.identity = identity
        self.judge = judge
        objective = Objective(model, spec, method, _in_half_precision(plan, device))
        objective = objective.to(device, memory_format=torch.channels_last).train()
        self.average = new_average(model)
        self.optimizer = new_optimizer(model, plan.learning_rate)
        self.objective = processes.share_gradients(objective, device)
        self.model = model
        self.step = self.logged_step = 0
        self.best = -math.inf
        self.sums: dict[str, Tensor] = {}
        self.logs = {name: Log(run / f"{name}.csv") for name in ("log", "validation")}

    def train_step(self, batch: Batch) -> dict[str, float] | None:
        """One optimiser step; the mean losses since the last line of the log where one is due."""
        set_rate(self.optimizer, self.step, self.plan.steps)
        losses = self.objective(batch, self.step / self.plan.steps)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        # The gradients are common to all processes, which thus stop together.
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        if not math.isfinite(norm.item()):
            listed = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
            raise FloatingPointError(
                f"step {self.step + 1}: loss or gradient is not finite ({listed})"
            )
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        means = self._log() if self._is_due(self.plan.log_every) else None
        validated = self.judge is not None and self._is_due(self.plan.validate_every)
        if validated:
            self._validate()
        if validated or self._is_due(self.plan.save_every):
            self.save()
        return means

    def finish(self) -> KM3DNet:
        """Save the state; the model that the training was for."""
        self.save()
        if self.best > -math.inf and processes.rank() == 0:
            return checkpoint.load(self.run / "best.safetensors")[0].to(self.device)
        return self.average.module.eval()

    def save(self) -> None:
        """Write the state; the former one stays until the new one is complete."""
        if processes.rank() > 0:
            return
        state = {
            "identity": self.identity,
            "step": self.step,
            "logged_step": self.logged_step,
            "best": self.best,
            "sums": self.sums,
            "logs": {name: log.text for name, log in self.logs.items()},
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_state(self.run / "state.pt", state)

    def resume(self) -> None:
        """Take over the state on disk, if there is one; the logs lose what came after it."""
        path = self.run / "state.pt"
        state = processes.from_first(lambda: read_state(path, self.identity))
        if state is None:
            self.run.mkdir(parents=True, exist_ok=True)
            return
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.logged_step = int(state["step"]), int(state["logged_step"])
            self.best = float(state["best"])
            self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
            former_logs = [(log, str(state["logs"][name])) for name, log in self.logs.items()]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the state of this training") from error
        if processes.rank() == 0:
            for log, text in former_logs:
                log.set_back(text)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.plan.steps

    def _log(self) -> dict[str, float]:
        count = self.step - self.logged_step
        means = {name: float(processes.mean(v)) / count for name, v in self.sums.items()}
        self.sums, self.logged_step = {}, self.step
        if processes.rank() == 0:
            rate = self.optimizer.param_groups[-1]["lr"]
            self.logs["log"].append({"step": self.step, "rate": rate, **means})
        return means

    def _validate(self) -> None:
        if processes.rank() > 0:
            return
        figures = self.judge.figures(self.average.module)
        self.logs["validation"].append({"step": self.step, **figures})
        score = next(iter(figures.values()))
        # Of equals the one that has learned longer.
        if score >= self.best:
            self.best = score
            checkpoint.save(self.run / "best.safetensors", self.average.module, self.spec)


def _in_half_precision(plan: Plan, device: torch.device) -> bool:
    if plan.precision == "auto":
        return device.type == "cuda"
    return plan.precision == "bfloat16"
