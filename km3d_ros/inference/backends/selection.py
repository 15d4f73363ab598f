"""Selection of the backend for a set of weights on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from km3d_ros.errors import InputError, check_downloaded
from km3d_ros.inference.backends.backend import Backend, UnavailableError, fast_bfloat16
from km3d_ros.inference.backends.openvino import OpenVinoBackend
from km3d_ros.inference.backends.pytorch import TorchBackend, select_device
from km3d_ros.inference.graph import GraphInputs
from km3d_ros.inference.graph_cache import cached
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

log = logging.getLogger(__name__)

GRAPH_SUFFIX = ".onnx"


@dataclass(frozen=True)
class Choice:
    """A backend that has run once, the specification of its weights, and why it was chosen."""

    backend: Backend
    spec: ModelSpec
    why: str

    def __str__(self) -> str:
        backend = self.backend
        return f"{backend.name} {backend.precision} on {backend.device} ({self.why})"


def choose(weights: Path, device: str, name: str, precision: str, threads: int = 0) -> Choice:
    """Compile weights for this machine.

    If a backend is missing, lacks what is asked for or fails, a warning is logged and the next
    backend is tried.

    Args:
        weights: a checkpoint, or a graph of `km3d export` (.onnx).
        device: "auto" (the first GPU, else the CPU) or a device of PyTorch ("cpu", "cuda:1").
        name, precision: of `options.BACKENDS` and `options.PRECISIONS`.
        threads: number of CPU threads of the backend; 0: all cores.

    Raises:
        InputError: weights that cannot be used, a device that is not there, or no backend for
            them on it.
    """
    model = _Weights(weights)
    # OpenVINO, the only backend of exported graphs, runs on the CPU, also on a machine with a GPU.
    needs_cpu = name == "openvino" or model.is_exported
    place = select_device("cpu" if device == "auto" and needs_cpu else device)
    ranked = _ranking(place)
    refused = []
    for candidate in ranked if name == "auto" else [name, *(n for n in ranked if n != name)]:
        try:
            backend = _OPENERS[candidate](model, place, precision, threads)
            backend.run(GraphInputs.zeros(1, model.spec))
        except InputError:
            raise
        # Runtimes raise exceptions of many types.
        except Exception as error:
            refused.append(f"{candidate}: {_first_line(error)}")
            log.warning("backend %s", refused[-1])
        else:
            why = "as asked for" if candidate == name else _reason(place)
            return Choice(backend, model.spec, why)
    raise InputError(f"{weights}: no backend can run it on {place}: {'; '.join(refused)}")


class _Weights:
    """A weights file as the network and as the exported graph."""

    def __init__(self, path: Path):
        self.path = path
        self.is_exported = path.suffix == GRAPH_SUFFIX
        if not self.is_exported:
            self.spec = checkpoint.read_spec(path)
            return
        try:
            check_downloaded(path)
            self._graph = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            self.spec = _export().read_spec(self._graph, str(path))
        except UnavailableError as error:
            raise InputError(f"{path}: {error}") from error

    def model(self) -> KM3DNet:
        """The network, on the CPU."""
        if self.is_exported:
            raise UnavailableError("it runs checkpoints, no exported graphs")
        return checkpoint.load(self.path)[0]

    def graph(self) -> bytes:
        """The exported graph."""
        if self.is_exported:
            return self._graph
        to_onnx = _export().to_onnx
        return cached(self.path, lambda: to_onnx(self.model(), self.spec))


def _export() -> ModuleType:
    """The module `export`, which needs the optional package onnx."""
    try:
        return import_module("km3d_ros.inference.export")
    except ImportError as error:
        raise UnavailableError(f"it needs the package onnx ({error})") from error


def _ranking(device: torch.device) -> tuple[str, ...]:
    """The backends for a device, the fastest first."""
    if device.type != "cpu":
        return ("torch",)
    return ("openvino", "torch")


def _reason(device: torch.device) -> str:
    if device.type != "cpu":
        return f"the quickest that works on {device}"
    having = "with" if fast_bfloat16() else "without"
    return f"the quickest that works on a CPU {having} bfloat16 instructions"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_OPENERS: dict[str, Callable[[_Weights, torch.device, str, int], Backend]] = {
    "torch": lambda model, device, precision, threads: TorchBackend(
        model.model(), model.spec, device, precision
    ),
    "openvino": lambda model, device, precision, threads: OpenVinoBackend(
        model.graph(), device, precision, threads
    ),
}
