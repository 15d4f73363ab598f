"""The graph in ONNX Runtime, on a CPU or, where its build has the providers, on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from km3d_ros.inference.backends.backend import UnavailableError, is_int8
from km3d_ros.inference.graph import GraphInputs

CPU = "CPUExecutionProvider"
GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """Runs an exported graph."""

    name = "onnxruntime"

    def __init__(self, graph: bytes, device: torch.device, precision: str):
        """Load a graph.

        Raises:
            UnavailableError: ONNX Runtime is not installed or has no provider for the device.
        """
        self.precision = "int8" if is_int8(graph) else "float32"
        if precision not in ("auto", "float32", self.precision):
            raise UnavailableError(f"it has no {precision}, only {self.precision}")
        try:
            import onnxruntime
        except ImportError as error:
            raise UnavailableError(f"it is not installed ({error})") from error
        wanted = GPU if device.type == "cuda" else ()
        there = [name for name in wanted if name in onnxruntime.get_available_providers()]
        if wanted and not there:
            raise UnavailableError(f"this build has none of {', '.join(wanted)}")
        places = [(name, {"device_id": device.index or 0}) for name in there]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(graph, options, [*places, CPU])
        used = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        self.device = f"{device} ({used})" if there else str(device)

    def run(self, inputs: GraphInputs) -> tuple[Tensor, Tensor]:
        """As of `Backend`."""
        objects, detections = self._session.run(None, inputs.by_name())
        return torch.from_numpy(objects), torch.from_numpy(detections)
