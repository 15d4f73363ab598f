"""Which backend runs a set of weights, and that all of them say the same."""

import ctypes
import gc
import shutil
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.backends import backend, selection
from km3d_ros.inference.backends.pytorch import number_format
from km3d_ros.inference.backends.selection import choose
from km3d_ros.inference.detections import unpack
from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import BACKENDS
from km3d_ros.network.spec import MAX_DETECTIONS
from km3d_ros.town import render, sample_scene

NAMES = [name for name in BACKENDS if name != "auto"]
FLAGS = "flags\t\t: fpu avx2 avx512f avx512_vnni"


@pytest.fixture(scope="module")
def street():
    """Three pictures of Town, each with its camera."""
    frames = [render(sample_scene(7, i), 800, 240) for i in range(3)]
    cameras = [CameraModel.from_projection(frame.projection, 800, 240) for frame in frames]
    return [frame.image for frame in frames], cameras


@pytest.fixture
def missing(monkeypatch):
    """Makes an installed package one that is not."""

    def hide(name):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, "km3d_ros.inference.export", raising=False)

    return hide


@pytest.fixture
def fast(monkeypatch):
    """Says whether the processor has instructions for bfloat16."""

    def pretend(value):
        monkeypatch.setattr(selection, "fast_bfloat16", lambda: value)
        monkeypatch.setattr(backend, "fast_bfloat16", lambda: value)

    return pretend


class SignalStack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    )


def signal_stack():
    """Where signal handlers of this thread run."""
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.ss_sp, stack.ss_size


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture(scope="module")
def expected(street):
    """What PyTorch says of the street in float32."""
    return Detector.from_checkpoint(None, "cpu", backend="torch").batch(*street)[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_backend_sees_the_same_street(name, street, expected):
    detector = Detector.from_checkpoint(None, "cpu", backend=name)
    assert detector.choice.backend.name == name
    for found, truth in zip(detector.batch(*street)[0], expected, strict=True):
        assert len(truth) >= 2
        np.testing.assert_array_equal(found.class_index, truth.class_index)
        np.testing.assert_allclose(found.score, truth.score, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.keypoints, truth.keypoints, rtol=0, atol=0.05)
        np.testing.assert_allclose(found.center, truth.center, rtol=5e-4, atol=1e-3)
        np.testing.assert_allclose(found.covariance, truth.covariance, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_both_tables_tell_of_the_same_objects(name, street):
    found = choose(DEFAULT_WEIGHTS, "cpu", name, "float32")
    images, cameras = street
    views = [virtual_camera(camera, found.spec.input_size) for camera in cameras]
    consistent, published = map(unpack, found.backend.run(GraphInputs.of(images, views)))
    assert consistent.score.shape == published.score.shape == (3, MAX_DETECTIONS)
    for name in ("class_index", "score", "keypoints", "box2d", "yaw"):
        np.testing.assert_array_equal(getattr(consistent, name), getattr(published, name))
    sure = consistent.score > 0.3
    moved = np.abs(consistent.center - published.center)[sure] / consistent.center[sure, 2:]
    assert 0 < moved.max() < 0.2


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_moves_boxes_by_little(name, street, expected):
    detector = Detector.from_checkpoint(None, "cpu", precision="bfloat16", backend=name)
    for found, truth in zip(detector.batch(*street)[0], expected, strict=True):
        distance = np.linalg.norm(found.keypoints[:, None, 8] - truth.keypoints[:, 8], axis=-1)
        # Keypoints of large boxes move by more pixels.
        diagonal = np.linalg.norm(truth.box2d[:, 2:] - truth.box2d[:, :2], axis=-1)
        seen = distance.min(0) < np.maximum(0.03 * diagonal, 2)
        assert seen.sum() >= len(truth) - 1
        change = found.center[distance.argmin(0), 2] / truth.center[:, 2] - 1
        assert 0 < np.abs(change[seen]).max() < 0.05


def test_openvino_leaves_no_signal_stack_behind(weights):
    before = signal_stack()
    found = choose(weights, "cpu", "openvino", "float32")
    assert found.backend.name == "openvino"
    assert signal_stack() == before
    del found
    gc.collect()
    assert signal_stack() == before


def test_auto_is_the_quickest_and_says_why(weights, fast):
    fast(True)
    found = choose(weights, "cpu", "auto", "auto")
    assert str(found) == (
        "openvino bfloat16 on cpu (the quickest that works on a CPU with bfloat16 instructions)"
    )
    fast(False)
    found = choose(weights, "cpu", "auto", "auto")
    assert str(found) == (
        "openvino float32 on cpu (the quickest that works on a CPU without bfloat16 instructions)"
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_for_is_taken(weights, name, caplog):
    found = choose(weights, "cpu", name, "float32")
    assert str(found) == f"{name} float32 on cpu (as asked for)"
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("bfloat16", "precision", "next_best"),
    [
        (True, "auto", "torch bfloat16"),
        (True, "float32", "torch float32"),
        (False, "auto", "torch float32"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_missing_backend_is_told_and_the_next_best_one_taken(
    weights, missing, fast, caplog, bfloat16, precision, next_best, name
):
    missing("openvino")
    fast(bfloat16)
    found = choose(weights, "cpu", name, precision)
    assert f"{found.backend.name} {found.backend.precision}" == next_best
    (warning,) = warnings(caplog)
    assert warning.startswith("backend openvino: it is not installed (")


def test_without_onnx_checkpoints_run_in_pytorch(tmp_path, missing, caplog):
    copy = shutil.copy(DEFAULT_WEIGHTS, tmp_path / "mine.safetensors")
    missing("onnx")
    assert choose(copy, "cpu", "auto", "float32").backend.name == "torch"
    (warning,) = warnings(caplog)
    assert warning.startswith("backend openvino: it needs the package onnx")


def test_exported_graph_needs_no_onnx(weights, tmp_path, missing):
    path = tmp_path / "exported.onnx"
    path.write_bytes(selection._Weights(weights).graph())
    missing("onnx")
    assert choose(path, "cpu", "auto", "float32").backend.name == "openvino"


def test_backend_that_cannot_compile_is_told(weights, monkeypatch, caplog):
    def refuse(*_):
        raise RuntimeError("Check 'supported' failed at core.cpp:117\nmany more lines")

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    assert choose(weights, "cpu", "openvino", "float32").backend.name == "torch"
    assert warnings(caplog) == ["backend openvino: Check 'supported' failed at core.cpp:117"]


def test_backend_that_fails_at_its_first_image_is_told(weights, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(selection.OpenVinoBackend, "run", fail)
    assert choose(weights, "cpu", "auto", "float32").backend.name == "torch"
    assert warnings(caplog) == ["backend openvino: illegal instruction"]


def test_precision_that_a_backend_does_not_have_is_told(weights, caplog):
    found = choose(weights, "cpu", "openvino", "float16")
    assert str(found).startswith("torch float16 on cpu (the quickest that works")
    (warning,) = warnings(caplog)
    assert warning == "backend openvino: it has no float16 on a CPU, only float32, bfloat16"


def test_graph_that_nothing_can_run_is_refused_with_all_reasons(weights, tmp_path, missing):
    path = tmp_path / "exported.onnx"
    path.write_bytes(selection._Weights(weights).graph())
    missing("openvino")
    with pytest.raises(InputError) as refused:
        choose(path, "cpu", "auto", "float32")
    message = str(refused.value)
    assert message.startswith(f"{path}: no backend can run it on cpu: openvino: it is not inst")
    assert "; torch: it runs checkpoints, no exported graphs" in message


@pytest.mark.parametrize(
    ("flags", "is_fast"),
    [(FLAGS, False), (f"{FLAGS} avx512_bf16", True), (f"{FLAGS} amx_bf16 amx_tile", True)],
)
def test_processor_says_whether_bfloat16_is_fast(monkeypatch, flags, is_fast):
    monkeypatch.setattr(Path, "read_text", lambda path: flags)
    assert backend.fast_bfloat16.__wrapped__() is is_fast


def test_black_images_of_any_number_warm_up(weights):
    for name in NAMES:
        detector = Detector.from_checkpoint(weights, "cpu", backend=name)
        for count in (1, 3):
            detector.warm_up(count)
    assert GraphInputs.zeros(2, detector.spec).pixels.shape == (2, 64, 160, 3)
    assert not np.any(GraphInputs.zeros(2, detector.spec).pixels)


def test_float32_is_the_default_precision_of_a_gpu():
    """The accuracy of float16 on a GPU has not been measured."""
    gpu = torch.device("cuda")
    formats = [number_format(gpu, name) for name in ("auto", "float32", "float16", "bfloat16")]
    assert formats == ["float32", "float32", "float16", "bfloat16"]


@pytest.mark.parametrize("name", ["auto", "torch", "openvino"])
def test_exported_graph_runs_on_the_cpu_of_a_machine_with_a_gpu(
    weights, tmp_path, monkeypatch, name
):
    path = tmp_path / "exported.onnx"
    path.write_bytes(selection._Weights(weights).graph())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose(path, "auto", name, "float32").backend.name == "openvino"


def test_exported_graph_is_refused_on_a_gpu(weights, tmp_path):
    """Asked for a GPU, nothing runs on the CPU instead without a word."""
    path = tmp_path / "exported.onnx"
    path.write_bytes(selection._Weights(weights).graph())
    with pytest.raises(InputError, match="torch: it runs checkpoints, no exported graphs") as no:
        choose(path, "meta", "auto", "float32")
    assert str(no.value).startswith(f"{path}: no backend can run it on meta: ")
