"""Embed a checkpoint: `.venv/bin/python tools/embed_weights.py mine.safetensors`.

Writes km3d_ros/weights/lite_streets.safetensors, and the same weights as an exported graph, with
which the node needs no PyTorch.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx

from km3d_ros.inference.export import to_onnx
from km3d_ros.inference.options import DEFAULT_WEIGHTS, EMBEDDED_GRAPH
from km3d_ros.network import checkpoint

LARGE = 256
"""Numbers of a constant from which on it is stored in half precision."""


def compressed(graph: bytes) -> bytes:
    """An exported graph whose large constants are stored in half precision.

    Runtimes turn them into float32 when they load the graph.
    """
    model = onnx.load_model_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        name = tensor.name
        half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
        tensor.CopyFrom(half)
        cast = onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


source = Path(sys.argv[1])
# Those of this checkout: the installed package has links to them.
folder = Path(__file__).parents[1] / "km3d_ros" / "weights"
weights, graph = folder / DEFAULT_WEIGHTS.name, folder / EMBEDDED_GRAPH.name
if source.resolve() != weights.resolve():
    shutil.copyfile(source, weights)
graph.write_bytes(compressed(to_onnx(*checkpoint.load(weights))))
print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB")
