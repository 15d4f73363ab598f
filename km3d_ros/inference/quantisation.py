"""Exported graphs in int8: static quantisation after the training, with ONNX Runtime's tools.

The convolutions of the backbone and of the heatmap's first layer run in int8 with a scale per
output channel. Their activations are uint8, in the range measured on calibration images.
The parts from which the geometry is computed stay float32. So do the first layers: they take
little time and caused half of the error.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx.utils import Extractor
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    create_calibrator,
)
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from km3d_ros.inference.export import with_spec
from km3d_ros.inference.exported import read_spec

FLOAT_LAYERS: dict[str, tuple[str, ...]] = {
    "lite": ("stem", "blocks.0"),
    "res_18": ("conv1",),
    "dla_34": ("stem", "level0", "level1"),
}
"""Per architecture: the first parts of the backbone, which stay float32."""

OPERATORS = ("Add", "Clip", "Conv", "ConvTranspose", "MaxPool", "Relu", "Resize")
"""Operators that ONNX Runtime and OpenVINO run in int8, or merge into such operators."""

_WEIGHT = re.compile(r"_model\.(backbone\.(?P<layer>.+)|heads\.hm\.0)\.weight")
_BACKBONE = re.compile(r"/backbone/(\w+|[\w.]+/(Relu|Clip|MaxPool))")
"""Names of nodes without weights. Nodes deeper inside compute offsets of deformable filters."""
_HIDDEN = "/hm.1/Relu"
"""The last node that is quantised."""


def quantise(graph: bytes, images: Iterable[np.ndarray], how: dict) -> bytes:
    """A float32 graph of `to_onnx` in int8.

    images: (1, H, W, 3) uint8, BGR: the input `pixels` of the graph, from typical scenes. They are
        read one after the other; only ranges of activations are kept.
    how: notes about the images, which the spec of the result stores as training["int8"].
    """
    spec = read_spec(graph, "graph")
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph))
    _resolve_copies(model)
    float_layers = FLOAT_LAYERS[spec.architecture]
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=_ranges(model, images),
        nodes_to_quantize=_quantisable(model, float_layers),
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options={"WeightSymmetric": True},
    )
    quantiser.quantize_model()
    made = {"calibration": "minmax", "float32_layers": [*float_layers], **how}
    spec = replace(spec, training=spec.training | {"int8": made})
    return with_spec(quantiser.model.model, spec).SerializeToString()


def _resolve_copies(model: onnx.ModelProto) -> None:
    """Give every layer its own bias: equal ones are exported as one and copies of it.

    The quantiser scales a bias with the layer that it belongs to.
    """
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "Identity" and node.input[0] in values:
            copy = onnx.TensorProto()
            copy.CopyFrom(values[node.input[0]])
            copy.name = node.output[0]
            model.graph.initializer.append(copy)
            model.graph.node.remove(node)


def _quantisable(model: onnx.ModelProto, float_layers: tuple[str, ...]) -> list[str]:
    """Names of the nodes to run in int8."""
    names = []
    for node in model.graph.node:
        weight = _WEIGHT.fullmatch(node.input[1]) if len(node.input) > 1 else None
        if node.op_type in ("Conv", "ConvTranspose"):
            wanted = weight is not None and _is_wanted(weight["layer"] or "", float_layers)
        else:
            wanted = _BACKBONE.fullmatch(node.name) is not None or node.name == _HIDDEN
        if wanted and node.op_type in OPERATORS:
            names.append(node.name)
    return names


def _is_wanted(layer: str, float_layers: tuple[str, ...]) -> bool:
    """Whether a convolution is neither in the first layers nor an offset of deformable filters."""
    first = any(layer == name or layer.startswith(f"{name}.") for name in float_layers)
    return not first and not layer.endswith(".offset")


def _ranges(model: onnx.ModelProto, images: Iterable[np.ndarray]) -> TensorsData:
    """Least and largest value of every activation of the network."""
    (hidden,) = (node.output[0] for node in model.graph.node if node.name == _HIDDEN)
    network = Extractor(model).extract_model(["pixels"], [hidden])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(network, path)
        calibrator = create_calibrator(
            path, list(OPERATORS), str(path.with_stem("augmented")), CalibrationMethod.MinMax
        )
        calibrator.collect_data(_Reader(images))
        return calibrator.compute_data()


class _Reader(CalibrationDataReader):
    """Images in the form of ONNX Runtime's calibrator."""

    def __init__(self, images: Iterable[np.ndarray]):
        self._inputs = ({"pixels": pixels} for pixels in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)
