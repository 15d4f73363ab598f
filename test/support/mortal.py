"""A small training for a process of its own, which may die of it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.network.km3dnet import BACKBONES
from km3d_ros.training.fit import Plan, fit
from km3d_ros.training.method import Method
from km3d_ros.training.start import new_model, new_spec

STEPS = 12


class Tiny(nn.Sequential):
    """A backbone that is fast to train and to save, with the kinds of layers of the others."""

    out_channels = 16

    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 7, 4, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())


BACKBONES["tiny"] = Tiny
SPEC = replace(new_spec("lite", (64, 128)), architecture="tiny", head_width=8)


def train(data: Path, run: Path, fatal_write: int = 0) -> None:
    """A whole training; `fatal_write`: which writing of the state it dies of."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    writes, fsync = iter(range(1, 1000)), os.fsync

    def sync(file):
        if next(writes) == fatal_write:
            os.truncate(file, 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync = sync
    frames = KittiDataset(data)
    plan = Plan(STEPS, 2, 1, workers=0, log_every=2, save_every=1)
    fit(new_model(SPEC), SPEC, frames, frames, plan, Method(), run, torch.device("cpu"))
