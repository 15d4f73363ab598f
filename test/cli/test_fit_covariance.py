import json

import pytest
from safetensors import safe_open
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.evaluation import covariances
from km3d_ros.inference.detector import Detector
from km3d_ros.network import checkpoint
from km3d_ros.network.spec import Noise

NOISE = Noise(sideways=0.3)
FIGURES = {
    "Car": {
        "objects": 7,
        "coverage": {name: [68.0, 95.0] for name in covariances.COMPONENTS},
        "spearman": 0.31,
    },
    "Cyclist": {"objects": 1, "coverage": None, "spearman": None},
}


@pytest.fixture
def fitted(monkeypatch):
    """An untrained network finds nothing that noise could be fitted to."""
    monkeypatch.setattr(covariances, "fit_and_judge", lambda findings: (NOISE, FIGURES))


def run(weights, tmp_path, *options):
    data = write_frames(tmp_path / "data", 2)
    out = tmp_path / "made" / "out.safetensors"
    arguments = [
        "fit-covariance",
        "--data",
        str(data),
        "--weights",
        str(weights),
        "--out",
        str(out),
    ]
    return main([*arguments, "--device", "cpu", *options]), out


def test_the_noise_is_written_beside_the_same_weights(weights, tmp_path, fitted, capsys):
    code, out = run(weights, tmp_path, "--json")
    assert code == 0
    table = json.loads(capsys.readouterr().out)
    assert table["noise"]["sideways"] == 0.3
    assert table["held_out"] == FIGURES
    spec = checkpoint.read_spec(out)
    assert spec.noise == NOISE
    assert spec.training["calibration"] == FIGURES
    with safe_open(weights, "pt") as before, safe_open(out, "pt") as after:
        assert before.keys() == after.keys()
        assert all((before.get_tensor(k) == after.get_tensor(k)).all() for k in before.keys())  # noqa: SIM118
    assert Detector.from_checkpoint(out, "cpu").spec.noise == NOISE


def test_an_exported_graph_is_refused_before_the_frames_are_read(tmp_path, capsys):
    graph = tmp_path / "detector.onnx"
    graph.write_bytes(b"\x08\x08\x12\x07pytorch")
    code, out = run(graph, tmp_path)
    assert code == 1
    assert "detector.onnx: not a safetensors file" in capsys.readouterr().err
    assert not out.exists()


def test_the_table_shows_coverage_and_ranking(weights, tmp_path, fitted, capsys):
    assert run(weights, tmp_path)[0] == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:3] == ["Noise", "sideways", "0.3"]
    assert lines[2] == ["Car", "7", *["68.0", "/", "95.0"] * 4, "0.31"]
    assert lines[3] == ["Cyclist", "1"]


def test_nothing_to_fit_to_is_one_line(weights, tmp_path, capsys):
    code, out = run(weights, tmp_path)
    assert code == 1
    assert "labelled objects were found, too few" in capsys.readouterr().err
    assert not out.exists()
