"""The training loop.

An interrupted training continues from its last saved state and gives the same weights, to the
last bit on a CPU. Under torchrun several processes share each step (see `processes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training import interruption, processes
from km3d_ros.training.dataset import Batch, Frames, Sources, TrainingViews, collate
from km3d_ros.training.objective import Objective
from km3d_ros.training.optimizer import new_average, new_optimizer, set_rate
from km3d_ros.training.sampler import Kind, StepOrder
from km3d_ros.training.settings import Method, Plan
from km3d_ros.training.state import TrainingState, identity_of

GRADIENT_NORM = 20.0
BATCH_SIZES = {
    Kind.LABELLED: "batch_size",
    Kind.UNLABELLED: "unlabelled_batch_size",
    Kind.BOXED: "boxes_batch_size",
}
"""Fields of `Plan`."""


class Judge(NamedTuple):
    """Selects the best weights of a training.

    frames: the frames on which a model is judged.
    figures: maps a model to figures by name, None where a figure does not exist. The first figure
        is always a number; the weights with the highest one are kept.
    """

    frames: Frames
    figures: Callable[[KM3DNet], dict[str, float | None]]


def fit(
    model: KM3DNet,
    spec: ModelSpec,
    sources: Sources,
    plan: Plan,
    method: Method,
    run: Path,
    device: torch.device,
    judge: Judge | None = None,
) -> KM3DNet:
    """Train a model; continue from `run/state.pt` if it exists.

    Under torchrun every process calls this function, and the first process writes the files:

    run/state.pt: everything needed to continue, every `plan.save_every` steps.
    run/log.csv: step, learning rate and mean losses, every `plan.log_every` steps.
    run/validation.csv, run/best.safetensors: the figures of `judge` for the averaged weights, and
        the best weights, every `plan.validate_every` steps and at the end.

    Returns:
        The moving average of the weights in evaluation mode: of the best step in the first
        process of a training with a judge, else of the last step.

    Raises:
        InputError: no frames, an unreadable frame (after the state is saved), a state of another
            training, or files that cannot be written.
        FloatingPointError: a loss or gradient is not finite. The last saved state stays.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    order, judge = _order_of(sources, plan), judge if plan.validate_every else None
    identity = identity_of(model, spec, plan, method, sources, judge and judge.frames)
    automatic = "bfloat16" if device.type == "cuda" else "float32"
    precision = automatic if plan.precision == "auto" else plan.precision
    objective = Objective(model, spec, method, precision == "bfloat16")
    objective = objective.to(device, memory_format=torch.channels_last).train()
    average, optimizer = new_average(model), new_optimizer(model, plan.learning_rate)
    objective = processes.share_gradients(objective, device)
    state = TrainingState(run, identity, model, average, optimizer, device)
    state.resume()
    order.start = state.step
    views = TrainingViews(sources, spec, method, plan.seed)

    def is_due(every: int) -> bool:
        return state.step % every == 0 or state.step == plan.steps

    with (
        interruption.noted() as interrupted,
        _progress_bar(state.step, plan.steps) as progress,
        _deterministic(device),
    ):
        for batch in interruption.start_loading(_loader(views, order, plan, device)):
            _stop_if_asked(batch, interrupted(), state, device)
            set_rate(optimizer, state.step, plan.steps)
            losses = objective(batch.to(device), state.step / plan.steps)
            optimizer.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            # All processes have the same gradients, and therefore stop at the same step.
            norm = nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            if not math.isfinite(norm.item()):
                raise FloatingPointError(_not_finite(losses, views, order, state.step))
            optimizer.step()
            average.update_parameters(model)
            state.add(losses)
            if is_due(plan.log_every):
                means = state.write_log()
                progress.set_postfix(loss=f"{sum(means.values()):.3g}")
            validates = judge is not None and is_due(plan.validate_every)
            if validates and processes.rank() == 0:
                figures = judge.figures(average.module)
                if state.write_validation(figures):
                    checkpoint.save(run / "best.safetensors", average.module, spec)
            if validates or is_due(plan.save_every):
                state.save()
            progress.update()
    state.save()
    if state.best > -math.inf and processes.rank() == 0:
        return checkpoint.load(run / "best.safetensors")[0].to(device)
    return average.module.eval()


def _order_of(sources: Sources, plan: Plan) -> StepOrder:
    kinds, count = {}, processes.count()
    for kind, name in BATCH_SIZES.items():
        frames, size = sources.of(kind), getattr(plan, name)
        if frames is None:
            continue
        if not len(frames):
            raise InputError(f"no {kind.name.lower()} frames to train on")
        if size % count:
            raise InputError(f"{name} is {size}, expected a multiple of the {count} processes")
        kinds[kind] = (len(frames), size)
    return StepOrder(kinds, 0, plan.steps, plan.seed, processes.rank(), count)


def _loader(
    views: TrainingViews, order: StepOrder, plan: Plan, device: torch.device
) -> DataLoader:
    return DataLoader(
        views,
        batch_sampler=order,
        num_workers=plan.workers,
        # Not forked: a fork copies locks that other threads of this process hold.
        multiprocessing_context="spawn" if plan.workers else None,
        collate_fn=collate,
        worker_init_fn=_single_threaded,
        pin_memory=device.type == "cuda",
    )


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(1)


def _progress_bar(step: int, steps: int) -> tqdm:
    # None shows the bar on terminals only. The rate is a mean over about 20 steps.
    disable = None if processes.rank() == 0 else True
    return tqdm(initial=step, total=steps, unit="step", smoothing=0.05, disable=disable)


def _stop_if_asked(
    batch: Batch | InputError, interrupted: bool, state: TrainingState, device: torch.device
) -> None:
    """Save the state and raise if a frame is unreadable or Ctrl-C came, in any process."""
    unreadable = isinstance(batch, InputError)
    if not processes.in_any(unreadable or interrupted, device):
        return
    state.save()
    if unreadable:
        raise batch
    if interrupted:
        raise KeyboardInterrupt(
            f"interrupted after step {state.step}; the same command goes on from there"
        )
    raise InputError("stopped because another process of this training did")


def _not_finite(
    losses: dict[str, Tensor], views: TrainingViews, order: StepOrder, step: int
) -> str:
    listed = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
    frames = (views.sources.of(key.kind)[key.index].name for key in order.keys(step))
    return (
        f"step {step + 1}: loss or gradient is not finite ({listed}); frames: {', '.join(frames)}"
    )


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms on a CPU. On a GPU they would be too slow."""
    former = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(former)
        torch.utils.deterministic.fill_uninitialized_memory = fill
