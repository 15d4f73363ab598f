"""What a training leaves on disk: its state, whole at any moment, and its logs."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from km3d_ros.errors import InputError
from km3d_ros.network import torch_file
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training.dataset import Frames, Sources
from km3d_ros.training.method import Method
from km3d_ros.training.sampler import Kind
from km3d_ros.training.settings import Plan

SAMPLES = 64
"""Frames by which a data set is recognised."""


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a state file; whatever happens meanwhile, the old or the new one is there.

    Raises:
        InputError: it cannot be written; the old one is still there.
    """
    # Through memory: torch reports a full disk as an error of its own, without the reason.
    content = io.BytesIO()
    torch.save(state, content)
    _replace(path, content.getbuffer())


def read_state(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The state in a file, or None where there is no file.

    identity: as of `identity_of`, which has to be that of the state.

    Raises:
        InputError: no state, or that of a training with another identity.
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
    """All that must not change when a training goes on; the number of steps may.

    model: as it starts. validation: the frames that choose the best weights, if any do.
    """
    described = asdict(spec)
    del described["noise"], described["training"]
    data = {kind.name.lower(): sources.of(kind) for kind in Kind} | {"validation": validation}
    return {
        **described,
        **asdict(method),
        **{name: getattr(plan, name) for name in ("batch_size", "learning_rate", "seed")},
        "unlabelled_batch_size": plan.unlabelled_batch_size if sources.unlabelled else 0,
        "boxes_batch_size": plan.boxes_batch_size if sources.boxed else 0,
        "start": _fingerprint_of_weights(model),
        **{
            f"{name} data": _fingerprint(frames) if frames else "none"
            for name, frames in data.items()
        },
    }


class Log:
    """A CSV file that grows by lines and can be set back to what it was."""

    def __init__(self, path: Path):
        self.path, self.text = path, ""

    def append(self, row: dict[str, float]) -> None:
        """Add a line; the first one brings the names of the columns along."""
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
        """Let the file have this text and no other."""
        if text:
            _replace(self.path, text.encode())
        self.text = text


def _replace(path: Path, content: bytes | memoryview) -> None:
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            # The name must not reach the disk before the content.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _fingerprint_of_weights(model: KM3DNet) -> str:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return f"weights {digest.hexdigest()[:8]}"


def _fingerprint(frames: Frames) -> str:
    """Short text that tells data sets apart by the names and image sizes of some frames."""
    digest = hashlib.sha256()
    for i in range(0, len(frames), max(1, len(frames) // SAMPLES)):
        frame = frames[i]
        digest.update(f"{frame.name} {frame.image_path.stat().st_size}\n".encode())
    return f"{len(frames)} frames {digest.hexdigest()[:8]}"
