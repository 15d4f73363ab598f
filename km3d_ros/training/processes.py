"""One training in several processes that `torchrun` starts (PyTorch's DistributedDataParallel).

Without torchrun there is one process, and these functions change nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from km3d_ros.errors import InputError
from km3d_ros.inference.backends.pytorch import select_device

T = TypeVar("T")


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the processes of torchrun, if there are any, and get the device of this process.

    device: as for `select_device`; each process on a machine has its own GPU.

    Raises:
        InputError: no such device, or fewer GPUs than processes.
    """
    chosen = select_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = select_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    yield chosen
    # Not after an error: it would wait for processes that are in the middle of a step.
    dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0; only the first process writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_gradients(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module so that every process gets the mean of all gradients.

    On GPUs the batch statistics are those of the whole batch. On CPUs each process has those of
    its part, because PyTorch has no synchronised batch normalisation there.
    """
    if count() == 1:
        return module
    if device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    # The gradients of the heads have another memory layout, which costs a copy of 100 kB.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(module)


def total(value: Tensor) -> Tensor:
    """The sum of a value over all processes. All processes must call this."""
    if count() > 1:
        dist.all_reduce(value)
    return value


def divisor(weight: Tensor) -> Tensor:
    """Divide a local sum by this number: the mean over processes is then the batch mean.

    weight: (), total weight of the terms of this process. A weight of the whole batch below 1
        counts as 1.
    """
    return total(weight).clamp(min=1) / count()


def in_any(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. All processes must call this."""
    return flag if count() == 1 else bool(total(torch.tensor(float(flag), device=device)))


def from_first(make: Callable[[], T]) -> T:
    """Call `make` in the first process; all return its result or raise its InputError."""
    if count() == 1:
        return make()
    made: list = [None]
    if rank() == 0:
        try:
            made = [make()]
        except InputError as error:
            made = [error]
    dist.broadcast_object_list(made)
    if isinstance(made[0], InputError):
        raise made[0]
    return made[0]
