"""The graph as ONNX, for other runtimes; it carries the metadata of its checkpoint."""

from __future__ import annotations

import io
import warnings
from dataclasses import fields

import onnx
import torch
from google.protobuf.message import DecodeError

from km3d_ros.errors import InputError
from km3d_ros.inference.graph import DetectorGraph, GraphInputs
from km3d_ros.network import metadata
from km3d_ros.network.checkpoint import METADATA_KEY
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

OPSET = 17
"""The oldest opset with all operators; ONNX Runtime, OpenVINO and TensorRT support it."""
OUTPUTS = ("objects", "detections")


def to_onnx(model: KM3DNet, spec: ModelSpec) -> bytes:
    """Export `DetectorGraph` in float32, for any number of images."""
    inputs = GraphInputs.zeros(1, spec)
    names = [*inputs.by_name(), *OUTPUTS]
    file = io.BytesIO()
    detector = DetectorGraph(model, spec)
    with torch.no_grad(), warnings.catch_warnings():
        tables = detector(*inputs.tensors())
        # The tracer warns that shapes become constants, as they should.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            inputs.tensors(),
            file,
            opset_version=OPSET,
            input_names=names[:-2],
            output_names=names[-2:],
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
    onnx.helper.set_model_props(graph, {METADATA_KEY: metadata.to_json(spec)})
    return graph


def read_spec(graph: bytes, name: str) -> ModelSpec:
    """Read the specification in an exported graph.

    name: of the graph, for error messages.

    Raises:
        InputError: not an ONNX graph of this package.
    """
    try:
        model = onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise InputError(f"{name}: not an ONNX file, or cut short") from error
    stored = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in stored:
        raise InputError(f"{name}: not a graph of km3d export (no {METADATA_KEY!r} metadata)")
    try:
        spec = metadata.from_json(stored[METADATA_KEY])
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    inputs = {entry.name for entry in model.graph.input}
    outputs = tuple(entry.name for entry in model.graph.output)
    if inputs != {field.name for field in fields(GraphInputs)} or outputs != OUTPUTS:
        raise InputError(f"{name}: not the inputs and outputs of a graph of km3d export")
    return spec
