"""The graph in OpenVINO, on a CPU."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.inference.backends.backend import UnavailableError, cpu_precision, is_int8
from km3d_ros.inference.graph_inputs import GraphInputs

if TYPE_CHECKING:
    import openvino

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoBackend:
    """Runs an exported graph, one image after the other; on a CPU a batch is not faster."""

    name, device = "openvino", "cpu"

    def __init__(self, graph: bytes, device: str, precision: str, threads: int = 0):
        """Compile a graph for a number of threads; 0: all cores.

        Raises:
            UnavailableError: another device than a CPU, or OpenVINO is not installed.
        """
        if device != self.device:
            raise UnavailableError(f"it runs on a CPU, not on {device}")
        known = tuple(PRECISIONS)
        self.precision = "int8" if is_int8(graph) else cpu_precision(precision, known)
        self._threads = threads
        # OpenVINO sets a signal stack in the thread that loads it, and unmaps it with the last
        # model. A thread that lives longer would crash at its next signal, for example Ctrl-C.
        with ThreadPoolExecutor(1) as passing:
            self._request = passing.submit(self._compile, graph).result()
        _return_free_memory()

    def run(self, inputs: GraphInputs) -> tuple[np.ndarray, ...]:
        """As `Backend.run`."""
        answers = [self._run(inputs[i : i + 1]) for i in range(len(inputs.pixels))]
        return tuple(np.concatenate(tables) for tables in zip(*answers, strict=True))

    def _compile(self, graph: bytes) -> openvino.InferRequest:
        try:
            import openvino
        except ImportError as error:
            raise UnavailableError(f"it is not installed ({error})") from error
        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS.get(self.precision, "f32"),
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = self._threads
        model = core.read_model(graph, b"")
        model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
        return core.compile_model(model, "CPU", options).create_infer_request()

    def _run(self, inputs: GraphInputs) -> list[np.ndarray]:
        self._request.infer(inputs.by_name(), share_inputs=True)
        return [self._request.get_output_tensor(i).data.copy() for i in range(2)]


def _return_free_memory() -> None:
    """Return what reading the graph took, 15 MB, to the system; glibc would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
