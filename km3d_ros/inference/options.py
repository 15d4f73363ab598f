"""Options of inference: weights, backend, number format, field of view, score threshold."""

from __future__ import annotations

from pathlib import Path

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "lite_streets.safetensors"
"""The embedded weights."""

EMBEDDED_GRAPH = DEFAULT_WEIGHTS.with_suffix(".onnx")
"""The same, exported: `tools/embed_weights.py` writes it."""

BACKENDS = ("auto", "torch", "openvino")
"""Runtimes of a network; auto: the fastest one that is installed, for the device."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""Number formats of a network; auto: bfloat16 on CPUs with instructions for it, else float32."""

VIEWS = (10.0, 140.0)
"""Horizontal fields of view, in degrees, that a user can choose for the network."""

SCORE_THRESHOLD = 0.15
"""Default of the lowest score of a reported detection."""

GRM = ("consistent", "published")
"""Methods of `geometry.grm.solve`; a graph has one output table for each."""
