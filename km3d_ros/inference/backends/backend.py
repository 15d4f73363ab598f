"""The interface of backends, and the number formats of the machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from km3d_ros.inference.graph_inputs import GraphInputs

_FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


class UnavailableError(Exception):
    """A backend cannot be used here; the message says why."""


class Backend(Protocol):
    """A compiled graph.

    name: "torch" or "openvino".
    device: where it runs, as a text for logs.
    precision: number format of the network; "int8" for a quantised graph.
    """

    name: str
    device: str
    precision: str

    def run(self, inputs: GraphInputs) -> tuple[np.ndarray, ...]:
        """Run the graph; returns the tables of `DetectorGraph.forward`."""
        ...


@cache
def fast_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions; without them bfloat16 is much slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return not _FAST_BFLOAT16.isdisjoint(flags.split())


def is_int8(graph: bytes) -> bool:
    """Whether an exported graph is quantised. Its float32 parts must stay float32."""
    return b"QuantizeLinear" in graph


def cpu_precision(precision: str, known: tuple[str, ...]) -> str:
    """The number format for this processor.

    precision: of `options.PRECISIONS`. known: the formats that the backend has on a CPU.

    Raises:
        UnavailableError: the backend does not have it.
    """
    if precision == "auto":
        return "bfloat16" if fast_bfloat16() and "bfloat16" in known else "float32"
    if precision not in known:
        raise UnavailableError(f"it has no {precision} on a CPU, only {', '.join(known)}")
    return precision
