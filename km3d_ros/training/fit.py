"""The training loop: the same steps whether it is interrupted or not, alone or in processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from km3d_ros.errors import InputError
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training import interruption, processes
from km3d_ros.training.dataset import Sources, TrainingViews, collate
from km3d_ros.training.method import Method
from km3d_ros.training.sampler import Kind, StepOrder
from km3d_ros.training.settings import Plan
from km3d_ros.training.state import identity_of
from km3d_ros.training.trainer import Judge, Trainer


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
    """Train a model, going on from `run/state.pt` where there is one.

    Every step sees frames of each of the sources. Under torchrun (see
    `processes.joined`) every process calls this, and the first one writes:

    run/state.pt: everything needed to go on, every `plan.save_every` steps.
    run/log.csv: step, learning rate and mean losses, every `plan.log_every` steps.
    run/validation.csv, run/best.safetensors: what `judge` says of the averaged weights, and the
        best of them, every `plan.validate_every` steps and at the end; with a judge only.

    Returns:
        The moving average of the weights, in evaluation mode: of the last step, or, where a
        judge was asked and in the first process, of the best one.

    Raises:
        InputError: no frames, an unreadable one (the state is saved before), a state of another
            training, or files that cannot be written.
        FloatingPointError: a loss is not finite; frames and step are named, the last state stays.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    order = _order_of(sources, plan)
    judge = judge if plan.validate_every else None
    judged_by = judge.frames if judge else None
    identity = identity_of(model, spec, plan, method, sources, judged_by)
    trainer = Trainer(model, spec, method, plan, run, device, identity, judge)
    trainer.resume()
    order.start = trainer.step
    _train(trainer, order, TrainingViews(sources, spec, method, plan.seed))
    return trainer.finish()


def _train(trainer: Trainer, order: StepOrder, views: TrainingViews) -> None:
    """The steps that are left."""
    plan, device = trainer.plan, trainer.device
    with (
        interruption.noted() as interrupted,
        _progress(trainer.step, plan.steps) as progress,
        _deterministic(device),
    ):
        for batch in interruption.start_loading(_loader(views, order, plan, device)):
            unreadable = isinstance(batch, InputError)
            if processes.in_any(unreadable or interrupted(), device):
                trainer.save()
                raise batch if unreadable else _stopped(trainer.step, interrupted())
            try:
                losses = trainer.train_step(batch.to(device))
            except FloatingPointError as error:
                names = ", ".join(_names(views, order, trainer.step))
                raise FloatingPointError(f"{error}; frames: {names}") from error
            if losses is not None:
                progress.set_postfix(loss=f"{sum(losses.values()):.3g}")
            progress.update()


def _order_of(sources: Sources, plan: Plan) -> StepOrder:
    sizes = {
        Kind.LABELLED: ("batch_size", plan.batch_size),
        Kind.UNLABELLED: ("unlabelled_batch_size", plan.unlabelled_batch_size),
        Kind.BOXED: ("boxes_batch_size", plan.boxes_batch_size),
    }
    kinds = {}
    for kind, (name, size) in sizes.items():
        frames = sources.of(kind)
        if frames is None:
            continue
        if not len(frames):
            raise InputError(f"no {kind.name.lower()} frames to train on")
        if size % processes.count():
            raise InputError(
                f"{name} is {size}, expected a multiple of the {processes.count()} processes"
            )
        kinds[kind] = (len(frames), size)
    return StepOrder(kinds, 0, plan.steps, plan.seed, processes.rank(), processes.count())


def _loader(
    views: TrainingViews, order: StepOrder, plan: Plan, device: torch.device
) -> DataLoader:
    return DataLoader(
        views,
        batch_sampler=order,
        num_workers=plan.workers,
        # Not forked: a process that has threads of its own may leave its children a held lock.
        multiprocessing_context="spawn" if plan.workers else None,
        collate_fn=collate,
        worker_init_fn=_single_threaded,
        pin_memory=device.type == "cuda",
    )


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(1)


def _progress(step: int, steps: int) -> tqdm:
    # None: a bar on terminals only. Smoothed over some twenty steps.
    disable = None if processes.rank() == 0 else True
    return tqdm(initial=step, total=steps, unit="step", smoothing=0.05, disable=disable)


def _names(views: TrainingViews, order: StepOrder, step: int) -> Iterator[str]:
    for key in order.keys(step):
        yield views.sources.of(key.kind)[key.index].name


def _stopped(step: int, interrupted: bool) -> BaseException:
    if interrupted:
        return KeyboardInterrupt(
            f"interrupted after step {step}; the same command goes on from there"
        )
    return InputError("stopped because another process of this training did")


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, equal sums to the last bit; on a GPU that would cost too much time."""
    former = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(former)
        torch.utils.deterministic.fill_uninitialized_memory = fill
