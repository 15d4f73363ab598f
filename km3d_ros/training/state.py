"""The files of a training: its state, which is complete at any moment, and its logs."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from km3d_ros.errors import InputError
from km3d_ros.network import torch_file
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training import processes
from km3d_ros.training.dataset import Frames, Sources
from km3d_ros.training.sampler import Kind
from km3d_ros.training.settings import Method, Plan
from km3d_ros.whole_file import write_whole

SAMPLES = 64
"""Frames from which the fingerprint of a data set is computed."""


class TrainingState:
    """The progress of a training, in memory and in the folder `run`.

    identity: as of `identity_of`; a state on disk must have the same.
    step: steps done. best: first figure of the best validation, -inf before the first one.
    """

    def __init__(
        self,
        run: Path,
        identity: dict[str, Any],
        model: KM3DNet,
        average: AveragedModel,
        optimizer: Optimizer,
        device: torch.device,
    ):
        self.path, self.identity, self.device = run / "state.pt", identity, device
        self.parts = {"model": model, "average": average, "optimizer": optimizer}
        self.step = self.logged_step = 0
        self.best = -math.inf
        self.sums: dict[str, Tensor] = {}
        self.logs = {name: Log(run / f"{name}.csv") for name in ("log", "validation")}

    def resume(self) -> None:
        """Load the state on disk, if there is one, and cut the logs back to its step.

        Raises:
            InputError: no state, or that of another training.
        """
        state = processes.from_first(lambda: read_state(self.path, self.identity))
        if state is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.step, self.logged_step = int(state["step"]), int(state["logged_step"])
            self.best = float(state["best"])
            self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
            former_logs = [(log, str(state["logs"][name])) for name, log in self.logs.items()]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: not the state of this training") from error
        if processes.rank() == 0:
            for log, text in former_logs:
                log.set_back(text)

    def save(self) -> None:
        """Write the state, in the first process only.

        Raises:
            InputError: it cannot be written; the former state stays.
        """
        if processes.rank() == 0:
            state = {
                "identity": self.identity,
                "step": self.step,
                "logged_step": self.logged_step,
                "best": self.best,
                "sums": self.sums,
                "logs": {name: log.text for name, log in self.logs.items()},
                **{name: part.state_dict() for name, part in self.parts.items()},
            }
            write_state(self.path, state)

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count a step and its losses."""
        self.step += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def write_log(self) -> dict[str, float]:
        """Add a line to the log; returns the mean losses since the line before."""
        count = self.step - self.logged_step
        count *= processes.count()
        means = {name: float(processes.total(v)) / count for name, v in self.sums.items()}
        self.sums, self.logged_step = {}, self.step
        if processes.rank() == 0:
            rate = self.parts["optimizer"].param_groups[-1]["lr"]
            self.logs["log"].append({"step": self.step, "rate": rate, **means})
        return means

    def write_validation(self, figures: dict[str, float | None]) -> bool:
        """Add a line to the validation log; returns whether its first figure is the best so far.

        Of equal figures the later one counts as better: its weights were trained for longer.
        """
        self.logs["validation"].append({"step": self.step, **figures})
        score = next(iter(figures.values()))
        is_best = score >= self.best
        self.best = max(self.best, score)
        return is_best


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a state file. At any moment the old or the new one is complete on disk.

    Raises:
        InputError: it cannot be written; the old one is still there.
    """
    # Through memory: for a full disk torch raises an error of its own, without the reason.
    content = io.BytesIO()
    torch.save(state, content)
    write_whole(path, content.getbuffer())


def read_state(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read a state file; None if there is no file.

    Raises:
        InputError: not a state, or that of a training with another identity.
    """
    if not path.exists():
        return None
    try:
        state = torch_file.read(path)
        former = dict(state["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a state of a training") from error
    changes = [
        f"{name} is {value} instead of {former.get(name)}"
        for name, value in identity.items()
        if former.get(name) != value
    ]
    if changes:
        raise InputError(f"{path}: belongs to another training: {'; '.join(changes)}")
    return state


def identity_of(
    model: KM3DNet,
    spec: ModelSpec,
    plan: Plan,
    method: Method,
    sources: Sources,
    validation: Frames | None,
) -> dict[str, Any]:
    """Everything that must stay the same when a training continues; the number of steps may grow.

    model: with its first weights. validation: the frames that select the best weights, if any.
    """
    described = asdict(spec)
    del described["noise"], described["training"]
    weights = b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values())
    data = {kind.name.lower(): sources.of(kind) for kind in Kind} | {"validation": validation}
    return {
        **described,
        **asdict(method),
        **{name: getattr(plan, name) for name in ("batch_size", "learning_rate", "seed")},
        "unlabelled_batch_size": plan.unlabelled_batch_size if sources.unlabelled else 0,
        "boxes_batch_size": plan.boxes_batch_size if sources.boxed else 0,
        "start": f"weights {hashlib.sha256(weights).hexdigest()[:8]}",
        **{
            f"{name} data": _fingerprint(frames) if frames else "none"
            for name, frames in data.items()
        },
    }


class Log:
    """A CSV file that grows by lines and can be set back to an earlier text."""

    def __init__(self, path: Path):
        self.path, self.text = path, ""

    def append(self, row: dict[str, float | None]) -> None:
        """Add a line, after a header with the names of the columns if it is the first line.

        Raises:
            InputError: it cannot be written.
        """
        lines = io.StringIO()
        writer = csv.DictWriter(lines, row, lineterminator="\n")
        if not self.text:
            writer.writeheader()
        writer.writerow(row)
        try:
            with self.path.open("a" if self.text else "w") as file:
                file.write(lines.getvalue())
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self.text += lines.getvalue()

    def set_back(self, text: str) -> None:
        """Replace the content by `text`; the next `append` continues it."""
        if text:
            write_whole(self.path, text.encode())
        self.text = text


def _fingerprint(frames: Frames) -> str:
    """A short text that differs between data sets, from the names and sizes of some images."""
    digest = hashlib.sha256()
    for i in range(0, len(frames), max(1, len(frames) // SAMPLES)):
        frame = frames[i]
        digest.update(f"{frame.name} {frame.image_path.stat().st_size}\n".encode())
        if frame.camera is not None:
            digest.update(frame.projection.tobytes() + frame.camera.distortion.tobytes())
    return f"{len(frames)} frames {digest.hexdigest()[:8]}"
