"""Small trainings that run, and die, in processes of their own."""

import os
import signal
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import Dataset

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.network.km3dnet import BACKBONES
from km3d_ros.training import processes
from km3d_ros.training.dataset import Sources
from km3d_ros.training.fit import fit
from km3d_ros.training.initial_weights import new_model, new_spec
from km3d_ros.training.settings import Method, Plan

BATCH = 2
STEPS = 12
STOPPED = 3
"""Exit code of a training that ended with an error of its own."""


class Tiny(nn.Sequential):
    """A backbone that is fast to train and to save, with the kinds of layers of the others."""

    out_channels = 16

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__(nn.Conv2d(3, 16, 7, 4, 3), norm(16), nn.ReLU())


BACKBONES["tiny"] = Tiny
BACKBONES["tiny_without_statistics"] = lambda: Tiny(nn.Identity)


def context():
    """Processes that start at once, because PyTorch is there already."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    return context


def train(data: Path, run: Path, architecture: str = "tiny") -> None:
    """A whole training, in the processes that the environment speaks of."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = replace(new_spec("lite", (64, 128)), architecture=architecture, head_width=8)
    frames = KittiDataset(data)
    boxed = [
        replace(frame, projection=None) if i % 2 else frame
        for i, frame in enumerate(open_boxes([data], spec.classes))
    ]
    plan = Plan(STEPS, BATCH, BATCH, BATCH, workers=0, log_every=2, save_every=3)
    sources = Sources(frames, frames, boxed)
    with processes.joined("cpu") as device:
        fit(new_model(spec), spec, sources, plan, Method(), run, device)


def train_until_step(data: Path, run: Path, fatal_step: int) -> None:
    """A training that dies in the middle of its n-th step, after the weights have changed."""
    steps = count(1)

    def die(*_):
        if next(steps) == fatal_step:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(die)
    train(data, run)


def train_until_write(data: Path, run: Path, fatal_write: int) -> None:
    """A training that dies while it writes its state or its former log for the n-th time."""
    writes, fsync = count(1), os.fsync

    def sync(file):
        if next(writes) == fatal_write:
            os.truncate(file, 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync = sync
    train(data, run)


def train_as_one_of_two(rank: int, port: int, data: Path, run: Path, architecture: str) -> None:
    """One of two processes that train together; it says why, where it cannot."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train(data, run, architecture)
    except InputError as error:
        (run.parent / f"error{rank}.txt").write_text(str(error))
        os._exit(STOPPED)


class BlockedSignals(Dataset):
    """Items that say which signals the process that makes them does not hear."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
