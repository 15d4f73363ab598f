"""Selection of the backend for a set of weights on this machine."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.errors import InputError, check_downloaded
from km3d_ros.inference.backends.backend import Backend, UnavailableError, fast_bfloat16
from km3d_ros.inference.backends.openvino import OpenVinoBackend
from km3d_ros.inference.exported import read_spec
from km3d_ros.inference.graph_cache import cached
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import DEFAULT_WEIGHTS, EMBEDDED_GRAPH
from km3d_ros.network.spec import ModelSpec

if TYPE_CHECKING:
    from km3d_ros.network.km3dnet import KM3DNet

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

    If a backend is missing, does not support the device or precision, or fails, a warning is
    logged and the next backend is tried.

    weights: a checkpoint, or a graph of `km3d export` (.onnx).
    device: "auto" (the first GPU, else the CPU) or a device of PyTorch ("cpu", "cuda:1").
    name, precision: of `options.BACKENDS` and `options.PRECISIONS`.
    threads: number of CPU threads of the backend; 0: all cores.

    Raises:
        InputError: the weights are not usable, the device is not available, or no backend can run
            the weights on it.
    """
    model = _Weights(weights)
    # OpenVINO, the only backend of exported graphs, runs on the CPU, also on a machine with a GPU.
    needs_cpu = name == "openvino" or not model.has_checkpoint
    place = _place("cpu" if device == "auto" and needs_cpu else device)
    ranked = ["openvino", "torch"] if place == "cpu" else ["torch"]  # the fastest first
    if name != "auto":
        ranked = list(dict.fromkeys((name, *ranked)))
    refused = []
    for candidate in ranked:
        try:
            backend = _open(candidate, model, place, precision, threads)
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
        self.has_checkpoint = path.suffix != GRAPH_SUFFIX
        self._graph: bytes | None = None
        if not self.has_checkpoint or path == DEFAULT_WEIGHTS:
            file = EMBEDDED_GRAPH if self.has_checkpoint else path
            self._graph = _read(file)
            self.spec = read_spec(self._graph, str(file))
        else:
            # Checkpoints need PyTorch, which takes seconds to import.
            from km3d_ros.network import checkpoint

            self.spec = checkpoint.read_spec(path)

    def model(self) -> KM3DNet:
        """The network, on the CPU."""
        if not self.has_checkpoint:
            raise UnavailableError("it runs checkpoints, no exported graphs")
        from km3d_ros.network import checkpoint

        return checkpoint.load(self.path)[0]

    def graph(self) -> bytes:
        """The exported graph."""
        return self._graph or cached(self.path, self._export)

    def _export(self) -> bytes:
        try:
            from km3d_ros.inference.export import to_onnx
        except ImportError as error:
            raise UnavailableError(f"it needs the package onnx ({error})") from error
        return to_onnx(self.model(), self.spec)


def _read(graph: Path) -> bytes:
    try:
        check_downloaded(graph)
        return graph.read_bytes()
    except OSError as error:
        raise InputError(f"{graph}: cannot be read ({error.strerror})") from error


def _place(device: str) -> str:
    """The device for a name, as `pytorch.select_device`, if possible without PyTorch."""
    if device == "cpu" or (device == "auto" and not _has_gpu_driver()):
        return "cpu"
    try:
        from km3d_ros.inference.backends.pytorch import select_device
    except ImportError as error:
        if device == "auto":
            return "cpu"
        raise InputError(f"device {device!r} needs PyTorch ({error})") from error
    return str(select_device(device))


def _has_gpu_driver() -> bool:
    """Whether the driver of a GPU is here. Only then PyTorch is asked, whose import takes long."""
    if Path("/dev/kfd").exists():  # AMD
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _reason(device: str) -> str:
    if device != "cpu":
        return f"the quickest that works on {device}"
    having = "with" if fast_bfloat16() else "without"
    return f"the quickest that works on a CPU {having} bfloat16 instructions"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _open(name: str, model: _Weights, device: str, precision: str, threads: int) -> Backend:
    if name == "openvino":
        return OpenVinoBackend(model.graph(), device, precision, threads)
    from km3d_ros.inference.backends.pytorch import TorchBackend, limit_threads, select_device

    limit_threads(threads)
    return TorchBackend(model.model(), model.spec, select_device(device), precision)
