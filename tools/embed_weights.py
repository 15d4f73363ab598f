"""Embed a checkpoint: `.venv/bin/python tools/embed_weights.py mine.safetensors`.

Writes km3d_ros/weights/lite_streets.safetensors, and the same weights as an exported graph, with
which the node needs no PyTorch.
"""

import shutil
import sys
from pathlib import Path

from km3d_ros.inference.export import compressed, to_onnx
from km3d_ros.inference.options import DEFAULT_WEIGHTS, EMBEDDED_GRAPH
from km3d_ros.network import checkpoint

source = Path(sys.argv[1])
# Those of this checkout: the installed package has links to them.
folder = Path(__file__).parents[1] / "km3d_ros" / "weights"
weights, graph = folder / DEFAULT_WEIGHTS.name, folder / EMBEDDED_GRAPH.name
if source.resolve() != weights.resolve():
    shutil.copyfile(source, weights)
graph.write_bytes(compressed(to_onnx(*checkpoint.load(weights))))
print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB")
