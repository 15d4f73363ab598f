"""The peak performance of the processor, and the operations of a network."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from km3d_ros.inference.backends.backend import fast_bfloat16
from km3d_ros.inference.graph import DetectorGraph, tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network import checkpoint

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""Instructions that determine the speed of a network."""
_SIDE, _GOES = 2048, 20


def describe() -> str:
    """Cores, model and relevant instructions of the processor."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    instructions = [name for name in INSTRUCTIONS if name in facts.get("flags", "").split()]
    name = facts.get("model name", "unknown processor")
    return f"{torch.get_num_threads()} cores of {name} ({', '.join(instructions)})"


def peaks() -> dict[str, float]:
    """GFLOP/s of the fastest of some large matrix products, by number format."""
    dtypes = {"float32": torch.float32}
    if fast_bfloat16():
        dtypes["bfloat16"] = torch.bfloat16
    return {name: _peak(dtype) for name, dtype in dtypes.items()}


def gigaflops(weights: Path) -> float:
    """Floating-point operations of one image in the graph, in 10⁹; a multiply-add is two.

    Those of convolutions and matrix products; sampling of deformable convolutions is not counted.
    """
    model, spec = checkpoint.load(weights)
    graph, counter = DetectorGraph(model, spec), FlopCounterMode(display=False)
    with counter, torch.no_grad():
        graph(*tensors(GraphInputs.zeros(1, spec)))
    return round(counter.get_total_flops() / 1e9, 1)


def _peak(dtype: torch.dtype) -> float:
    a, b = (torch.rand(_SIDE, _SIDE).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_GOES):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return round(2 * _SIDE**3 / best / 1e9)
