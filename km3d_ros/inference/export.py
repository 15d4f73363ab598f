"""The graph as ONNX, for other runtimes; it carries the metadata of its checkpoint."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import torch

from km3d_ros.inference.graph import DetectorGraph, tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import GRM
from km3d_ros.network import metadata
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

OPSET = 17
"""The oldest opset with all operators; ONNX Runtime, OpenVINO and TensorRT support it."""

LARGE = 256
"""Numbers of a constant from which on it is stored in half precision."""


def to_onnx(model: KM3DNet, spec: ModelSpec) -> bytes:
    """Export `DetectorGraph` in float32, for any number of images."""
    inputs = GraphInputs.zeros(1, spec)
    names = [*inputs.by_name(), *GRM]
    file = io.BytesIO()
    detector = DetectorGraph(model, spec)
    with torch.no_grad(), warnings.catch_warnings():
        tables = detector(*tensors(inputs))
        # The tracer warns that shapes become constants, as they should.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            tensors(inputs),
            file,
            opset_version=OPSET,
            input_names=names[: -len(GRM)],
            output_names=list(GRM),
            dynamic_axes={name: {0: "batch"} for name in names},
            # The TorchScript exporter is in every PyTorch since 2.4 and needs no other package.
            dynamo=False,
        )
    graph = onnx.load_model_from_string(file.getvalue())
    for output, table in zip(graph.graph.output, tables, strict=True):
        # The tracer does not set these sizes.
        for dim, size in zip(output.type.tensor_type.shape.dim[1:], table.shape[1:], strict=True):
            dim.dim_value = size
    return with_spec(graph, spec).SerializeToString()


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


def with_spec(graph: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Store a specification in the graph; returns the graph."""
    onnx.helper.set_model_props(graph, {metadata.KEY: metadata.to_json(spec)})
    return graph
