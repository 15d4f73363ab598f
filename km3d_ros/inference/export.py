"""The graph as ONNX, for other runtimes; it carries the metadata of its checkpoint."""

from __future__ import annotations

import io
import warnings

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


def with_spec(graph: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Store a specification in the graph; returns the graph."""
    onnx.helper.set_model_props(graph, {metadata.KEY: metadata.to_json(spec)})
    return graph
