"""Exported graphs say what the network says, in every runtime and in any batch."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from support.plausible import plausible

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.backends.openvino import OpenVinoBackend
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.comparison import RUNTIMES, compare, compare_runtimes
from km3d_ros.inference.detections import columns, unpack
from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector
from km3d_ros.inference.export import to_onnx, with_spec
from km3d_ros.inference.exported import read_spec
from km3d_ros.inference.quantisation import FLOAT_LAYERS, _quantisable, quantise
from km3d_ros.network import checkpoint
from km3d_ros.town import render, sample_scene

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
CPU = "cpu"


@pytest.fixture(scope="module")
def exported():
    """By architecture, a network with pictures for it, and its graph."""
    kept = {}

    def export(architecture):
        if architecture not in kept:
            given = plausible(architecture)
            spec = replace(given.spec, training={"seed": 0})
            kept[architecture] = given, to_onnx(given.model, spec)
        return kept[architecture]

    return export


@pytest.fixture(scope="module")
def int8(exported):
    """A network with pictures for it, and its graph in int8."""
    given, graph = exported("res_18")
    images = (given.inputs[i : i + 1].pixels for i in range(3))
    return given, quantise(graph, images, {"images": 3, "source": "noise"})


def reference(given):
    return TorchBackend(given.model, given.spec, torch.device(CPU), "float32").run(given.inputs)


@pytest.mark.parametrize("architecture", ["lite", "res_18", "dla_34"])
def test_exported_graph_says_what_the_network_says(exported, architecture):
    given, graph = exported(architecture)
    seen = unpack(reference(given)[0])
    assert (seen.peak_score > 0).all()
    assert ((seen.center[..., 2] > 10) & (seen.center[..., 2] < 60)).all()
    differences = compare_runtimes(graph, given.model, given.spec, given.inputs)
    assert list(differences) == ["onnxruntime", "openvino"]
    for difference in differences.values():
        assert difference.expected == 300
        assert difference.shared >= 298
        assert difference.score < 1e-4
        assert difference.position < 0.01


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("count", [2, 3])
def test_batch_says_what_its_images_say(exported, runtime, count):
    given, graph = exported("lite")
    backend = RUNTIMES[runtime](graph, CPU, "float32")
    together = backend.run(given.inputs[:count])
    alone = [backend.run(given.inputs[i : i + 1]) for i in range(count)]
    for table, tables in zip(together, zip(*alone, strict=True), strict=True):
        assert table.shape[:2] == (count, 100)
        np.testing.assert_allclose(table, np.concatenate(tables), rtol=1e-4, atol=1e-4)


def test_graph_carries_the_spec_of_its_weights(exported):
    given, graph = exported("lite")
    assert read_spec(graph, "g") == replace(given.spec, training={"seed": 0})


@pytest.mark.parametrize("length", [0.3, 0.999])
def test_graph_that_was_cut_short_is_refused(exported, length):
    graph = exported("lite")[1]
    with pytest.raises(InputError, match=r"^cut\.onnx: not an ONNX file, or cut short$"):
        read_spec(graph[: int(length * len(graph))], "cut.onnx")


def test_foreign_graph_is_refused(exported):
    x, y = (helper.make_tensor_value_info(name, 1, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", [x], [y])
    foreign = helper.make_model(graph)
    with pytest.raises(InputError, match=r"^f\.onnx: not a graph of km3d export \(no 'km3d'"):
        read_spec(foreign.SerializeToString(), "f.onnx")
    pretender = with_spec(foreign, exported("lite")[0].spec).SerializeToString()
    with pytest.raises(InputError, match=r"^f\.onnx: not the inputs and outputs of a graph of"):
        read_spec(pretender, "f.onnx")


def test_int8_graph_is_near_float32_in_every_runtime(int8):
    given, graph = int8
    for difference in compare_runtimes(graph, given.model, given.spec, given.inputs).values():
        assert difference.shared > 270
        assert 1e-4 < difference.score < 0.05
        assert difference.position < 0.3


def test_int8_graph_quantises_the_network_and_no_geometry(int8):
    model = onnx.load_model_from_string(int8[1])
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    kept = [n.name for n in layers if made_by.get(n.input[1]) != "DequantizeLinear"]
    assert kept == ["/backbone/conv1/Conv", "/hm.2/Conv"]
    assert len(layers) == 20 + 3 + 2
    gathered = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert len(gathered) > 4
    assert all("DequantizeLinear" not in map(made_by.get, node.input) for node in gathered)


def test_int8_graph_says_how_it_was_made(int8):
    given, graph = int8
    made = {"calibration": "minmax", "float32_layers": ["conv1"]}
    assert read_spec(graph, "g") == replace(
        given.spec, training={"seed": 0, "int8": made | {"images": 3, "source": "noise"}}
    )


def test_quantised_graph_is_int8_whatever_is_asked_for(int8, exported, monkeypatch):
    monkeypatch.setattr("km3d_ros.inference.backends.backend.fast_bfloat16", lambda: True)
    for precision in ("auto", "float32", "bfloat16"):
        assert OpenVinoBackend(int8[1], CPU, precision).precision == "int8"
    assert OpenVinoBackend(exported("res_18")[1], CPU, "auto").precision == "bfloat16"


def test_offsets_of_deformable_filters_stay_float32(exported):
    model = onnx.load_model_from_string(exported("dla_34")[1])
    chosen = set(_quantisable(model, FLOAT_LAYERS["dla_34"]))
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    kept = [
        weights[name].removeprefix("_model.backbone.") for name in weights if name not in chosen
    ]
    offsets = [name for name in kept if name.endswith(".offset.weight")]
    assert len(offsets) == 16
    assert [name for name in kept if name not in offsets] == [
        "stem.0.weight",
        "level0.0.weight",
        "level1.0.weight",
        "_model.heads.hm.2.weight",
    ]
    adds = {node.name for node in model.graph.node if node.op_type == "Add"}
    assert chosen & adds
    assert all(name.count("/") == 2 for name in chosen & adds)


def shifted(tables, **changes):
    """The same answer with some fields of its detections changed."""
    tables = tuple(table.copy() for table in tables)
    for name, change in changes.items():
        part = tables[0][..., columns()[name]]
        part += change.reshape(part.shape)
    return tables


def test_answer_does_not_differ_from_itself(exported):
    truth = reference(exported("lite")[0])
    found = compare(truth, truth)
    assert (found.shared, found.expected, found.score, found.position) == (300, 300, 0, 0)
    assert found.is_rounding


def test_differences_are_the_largest_ones(exported):
    truth = reference(exported("lite")[0])
    shift = np.zeros((3, 100, 3))
    shift[1, 5, 0] = 0.3
    lowered = np.zeros((3, 100))
    lowered[2, 7] = -0.02
    found = compare(shifted(truth, center=shift, score=lowered), truth)
    distance = np.linalg.norm(unpack(truth[0]).center[1, 5])
    assert found.position == pytest.approx(0.3 * 20 / distance, rel=1e-4)
    assert found.score == pytest.approx(0.02, abs=1e-6)
    assert not found.is_rounding


def test_position_that_an_answer_lacks_is_no_small_difference(exported):
    truth = reference(exported("lite")[0])
    lacking = np.zeros((3, 100, 3))
    lacking[0, 0] = np.nan
    assert compare(shifted(truth, center=lacking), truth).position == np.inf


def test_objects_that_an_answer_lacks_are_counted(exported):
    truth = reference(exported("lite")[0])
    none = tuple(np.zeros_like(table) for table in truth)
    found = compare(none, truth)
    assert (found.shared, found.expected) == (0, 300)
    assert not found.is_rounding
    assert compare(truth, none).expected == 0


def test_weak_objects_are_left_out_where_asked_for(exported):
    truth = reference(exported("lite")[0])
    score = unpack(truth[0]).score
    assert compare(truth, truth, 0.15).expected == (score >= 0.15).sum() > 3


def test_documented_columns_are_those_of_the_tables(exported):
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| (\d+)(?:–(\d+))? \| `(\w+)` \|", text, re.MULTILINE)
    documented = [(name, int(first), int(last or first)) for first, last, name in rows]
    real = [(name, part.start, part.stop - 1) for name, part in columns().items()]
    assert documented == real
    graph = onnx.load_model_from_string(exported("lite")[1]).graph
    for output in graph.output:
        width = output.type.tensor_type.shape.dim[2].dim_value
        assert f"`{output.name}`, float32 (B, 100, {width})" in text


def test_documented_example_runs_without_this_package(tmp_path):
    model, spec = checkpoint.load(DEFAULT_WEIGHTS)
    (tmp_path / "detector.onnx").write_bytes(to_onnx(model, spec))
    frame = render(sample_scene(7), 800, 240)
    cv2.imwrite(str(tmp_path / "frame.png"), frame.image)
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert "km3d" not in example
    matrix = json.dumps(frame.projection.tolist())
    example = re.sub(r"P = np.array\(\[\[.*\]\], ", f"P = np.array({matrix}, ", example)
    script = tmp_path / "example.py"
    script.write_text(example + "np.save('rows.npy', rows)\n")
    subprocess.run([sys.executable, script.name], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "rows.npy")
    detector = Detector.from_checkpoint(None, "cpu", backend="torch")
    truth = detector(frame.image, CameraModel.from_projection(frame.projection, 800, 240))
    assert len(found) == len(truth) >= 2
    # Objects of nearly equal score may change places.
    centers = (found[:, columns()["center"]], truth.center)
    one, other = (rows[rows[:, 2].argsort()] for rows in centers)
    np.testing.assert_allclose(one, other, rtol=5e-3, atol=1e-2)
