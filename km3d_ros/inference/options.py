"""What a user chooses about inference: the runtime, the number format, the least score."""

from __future__ import annotations

BACKENDS = ("auto", "torch", "openvino", "onnxruntime")
"""What runs a network; auto: the quickest that is installed, for the device at hand."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""Number formats of a network; auto: the quickest that costs next to no accuracy, by device."""

SCORE_THRESHOLD = 0.15
"""Least score of a detection that is reported, where nothing else is asked for."""
