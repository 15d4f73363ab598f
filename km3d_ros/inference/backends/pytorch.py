"""The graph in PyTorch, on a CPU or on a GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.inference.backends.backend import cpu_precision
from km3d_ros.inference.graph import DetectorGraph, tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


_ALL_THREADS = torch.get_num_threads()


class TorchBackend:
    """Runs `DetectorGraph`; on a GPU as one CUDA graph for each number of images.

    graph: the module, whose parts `evaluation.oracle` calls one by one.
    """

    name = "torch"

    def __init__(
        self, model: KM3DNet, spec: ModelSpec, device: torch.device, precision: str = "float32"
    ):
        self.precision = number_format(device, precision)
        self.device = str(device)
        self.graph = DetectorGraph(model, spec, DTYPES[self.precision]).to(device).eval()
        self._device = device
        self._captured: dict[int, _Captured] = {}

    @torch.inference_mode()
    def run(self, inputs: GraphInputs) -> tuple[np.ndarray, ...]:
        """As `Backend.run`."""
        if self._device.type != "cuda":
            tables = self.graph(*(tensor.to(self._device) for tensor in tensors(inputs)))
            return tuple(table.cpu().numpy() for table in tables)
        count = len(inputs.pixels)
        if count not in self._captured:
            self._captured[count] = _Captured(self.graph, tensors(inputs), self._device)
        return self._captured[count](inputs)


def number_format(device: torch.device, precision: str) -> str:
    """The number format of the network for one of `options.PRECISIONS`.

    On a GPU "auto" is float32: float16 saves little time there and costs some accuracy
    (docs/performance.md, On a GPU).
    """
    if device.type == "cuda":
        return "float32" if precision == "auto" else precision
    return cpu_precision(precision, tuple(DTYPES))


class _Captured:
    """A CUDA graph for one shape of inputs: copy to the GPU, detector graph, copy back."""

    def __init__(
        self, graph: DetectorGraph, tensors: tuple[Tensor, ...], device: torch.device
    ) -> None:
        self._inputs = tuple(torch.empty_like(t, pin_memory=True).copy_(t) for t in tensors)
        self._arrays = tuple(t.numpy() for t in self._inputs)
        self._stream = torch.cuda.Stream(device)
        # Copies and folding of a network on the GPU may not be finished yet.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        # No TF32, which has the mantissa of float16.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with torch.cuda.stream(self._stream), exact:
            # Before the capture cuDNN chooses its algorithms and PyTorch allocates memory.
            for _ in range(3):
                tables = graph(*(t.to(device, non_blocking=True) for t in self._inputs))
            self._outputs = tuple(torch.empty_like(t, device="cpu").pin_memory() for t in tables)
            self._stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # In the default mode, allocations of other threads make the capture fail.
            mode = {"stream": self._stream, "capture_error_mode": "thread_local"}
            with torch.cuda.graph(self._graph, **mode):
                tables = graph(*(t.to(device, non_blocking=True) for t in self._inputs))
                for output, table in zip(self._outputs, tables, strict=True):
                    output.copy_(table, non_blocking=True)

    def __call__(self, inputs: GraphInputs) -> tuple[np.ndarray, ...]:
        # By NumPy: PyTorch copies with all cores, and its threads then spin for milliseconds.
        for mine, given in zip(self._arrays, inputs.by_name().values(), strict=True):
            np.copyto(mine, given)
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        self._stream.synchronize()
        return tuple(output.numpy().copy() for output in self._outputs)


def limit_threads(threads: int) -> None:
    """Let PyTorch use so many threads in this process; 0: as many as at the start."""
    torch.set_num_threads(threads or _ALL_THREADS)


def select_device(name: str) -> torch.device:
    """A device by name; "auto" is the first GPU, or the CPU without one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here") from error
    return device
