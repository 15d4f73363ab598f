"""`km3d export` from the options to a file that `km3d detect` runs."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from support import cameras
from support.plausible import FOCAL, HEIGHT, WIDTH, plausible

from km3d_ros.cli import main
from km3d_ros.data.calibration import read_camera
from km3d_ros.errors import InputError, pip_install
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference import export, quantisation
from km3d_ros.inference.exported import read_spec
from km3d_ros.network import checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights that see boxes, and a folder of four images with a camera file."""
    folder = tmp_path_factory.mktemp("export")
    given = plausible("lite", 4)
    checkpoint.save(folder / "some.safetensors", given.model, given.spec)
    (folder / "images").mkdir()
    for i, image in enumerate(given.inputs.pixels):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
    projection = [FOCAL, 0, WIDTH / 2, 0, 0, FOCAL, HEIGHT / 2, 0, 0, 0, 1, 0]
    (folder / "camera.txt").write_text("P2: " + " ".join(map(str, projection)))
    return folder


@pytest.fixture
def km3d(files, capsys):
    """Runs a verb with the weights; gives its code and both its outputs."""

    def run(*args):
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def detections(km3d, files, weights, out, backend="auto"):
    code, *_ = km3d("detect", "--images", files / "images", "--calib", files / "camera.txt",
                    "--weights", weights, "--out", out, "--backend", backend)  # fmt: skip
    assert code == 0
    lines = (out / "detections.jsonl").read_text().splitlines()
    return [json.loads(line)["detections"] for line in lines]


def test_exported_weights_detect_what_the_checkpoint_does(km3d, files, tmp_path):
    graph = tmp_path / "new" / "some.onnx"
    code, out, err = km3d("export", graph, "--weights", files / "some.safetensors")
    assert (code, err) == (0, "")
    ort, openvino, written = out.splitlines()
    assert ort.startswith("onnxruntime: 200 of 200 objects, differences up to ")
    assert openvino.startswith("openvino: 200 of 200 objects, differences up to ")
    assert written.startswith(f"{graph}: lite, float32, ")
    assert [path.name for path in graph.parent.iterdir()] == ["some.onnx"]
    truth = detections(km3d, files, files / "some.safetensors", tmp_path / "a", "torch")
    found = detections(km3d, files, graph, tmp_path / "b")
    assert sum(map(len, truth)) > 20
    for before, after in zip(truth, found, strict=True):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            assert one["center"] == pytest.approx(other["center"], abs=0.01)


def test_int8_from_a_folder_of_images(km3d, files, tmp_path):
    graph = tmp_path / "some.onnx"
    code, out, _ = km3d("export", graph, "--weights", files / "some.safetensors", "--int8",
                        "--calibrate", files / "images", "--camera", files / "camera.txt",
                        "--frames", 3)  # fmt: skip
    assert code == 0
    assert f"{graph}: lite, int8, " in out
    made = read_spec(graph.read_bytes(), "g").training["int8"]
    assert (made["images"], made["source"]) == (3, "images")
    truth = detections(km3d, files, files / "some.safetensors", tmp_path / "a", "torch")
    found = detections(km3d, files, graph, tmp_path / "b")
    assert sum(map(len, found)) == pytest.approx(sum(map(len, truth)), rel=0.3)
    best = [max(image, key=lambda item: item["score"])["center"][2] for image in truth]
    near = [max(image, key=lambda item: item["score"])["center"][2] for image in found]
    np.testing.assert_allclose(near, best, rtol=0.1)


def test_int8_is_calibrated_with_what_the_network_sees_through_lens_and_mount(
    km3d, files, tmp_path, monkeypatch
):
    image = np.random.default_rng(0).integers(0, 256, (cameras.HEIGHT, cameras.WIDTH, 3), np.uint8)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), image)
    lens = tmp_path / "lens.yaml"
    cameras.ros_calibration(lens, coefficients=(-0.3, 0.1, 0.0, 0.0, 0.0))
    seen = []

    def quantise(graph, images, how):
        seen.extend(images)
        raise InputError("enough")

    monkeypatch.setattr(quantisation, "quantise", quantise)
    weights = files / "some.safetensors"
    km3d("export", tmp_path / "some.onnx", "--weights", weights, "--int8", "--calibrate",
         tmp_path / "images", "--camera", lens, "--camera-pitch", 0.1)  # fmt: skip
    camera = read_camera(lens, cameras.WIDTH, cameras.HEIGHT)
    mounted = replace(camera, level=level_from_angles(0.1, 0.0))
    view = virtual_camera(mounted, checkpoint.read_spec(weights).input_size)
    ((pixels,),) = seen
    np.testing.assert_array_equal(pixels, view.warp(image))


def test_graph_that_is_not_the_network_is_not_written(km3d, files, tmp_path, monkeypatch):
    other, to_onnx = plausible("lite").model, export.to_onnx
    for parameter in other.heads["hps"].parameters():
        parameter.data.mul_(0.99)
    monkeypatch.setattr(export, "to_onnx", lambda model, spec: to_onnx(other, spec))
    graph = tmp_path / "some.onnx"
    graph.write_bytes(b"as it was")
    code, _, err = km3d("export", graph, "--weights", files / "some.safetensors")
    assert code == 1
    assert err.startswith("km3d export: the graph in onnxruntime is not the network in PyTorch (")
    assert err.count("\n") == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        ("some.onnx", b"as it was")
    ]


def test_runtime_that_is_missing_is_told(km3d, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    code, out, _ = km3d("export", tmp_path / "x.onnx", "--weights", files / "some.safetensors")
    assert code == 0
    assert "openvino: not compared, it is not installed\n" in out


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--int8"], "--int8 needs --calibrate"),
        (["--calibrate", "images"], "--calibrate needs --int8"),
        (["--camera", "camera.txt"], "--camera needs --int8"),
        (["--topic", "/image"], "--topic needs --int8"),
        (["--frames", "5"], "--frames needs --int8"),
        (["--camera-pitch", "0.1"], "--camera-pitch needs --int8"),
        (["--base-frame", "base_link"], "--base-frame needs --int8"),
        (["--frames", "0"], "'0' is not a number from 1 up"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(km3d, tmp_path, options, rule):
    code, _, err = km3d("export", tmp_path / "x.onnx", *options)
    assert code == 2
    assert err.endswith(f"{rule}\n")


def test_output_that_would_not_be_known_as_a_graph_is_refused(km3d, tmp_path):
    code, _, err = km3d("export", tmp_path / "x.pt")
    assert (code, err) == (
        1, f"km3d export: {tmp_path}/x.pt: expected a file name that ends in .onnx\n"
    )  # fmt: skip


def test_graph_is_not_exported_again(km3d, tmp_path):
    code, _, err = km3d("export", tmp_path / "x.onnx", "--weights", "some.onnx")
    assert (code, err) == (
        1, "km3d export: some.onnx: already an exported graph, expected a checkpoint\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("package", "module", "options"),
    [
        ("onnx", "export", []),
        ("onnxruntime", "quantisation", ["--int8", "--calibrate", "images"]),
    ],
)
def test_package_that_is_missing_is_named(km3d, tmp_path, monkeypatch, package, module, options):
    monkeypatch.delitem(sys.modules, f"km3d_ros.inference.{module}", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    code, _, err = km3d("export", tmp_path / "x.onnx", *options)
    assert (code, err) == (
        1, f"km3d export: this needs the package {package}: {pip_install(package)}\n"
    )  # fmt: skip
