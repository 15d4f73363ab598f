"""The benchmarks of the detector run and print what they promise; nothing is said of speed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(name: str, *options: str) -> str:
    command = [sys.executable, FOLDER / f"{name}.py", *options]
    root = FOLDER.parent
    environment = os.environ | {"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT = """
import runpy, sys
own = {path.rpartition("/")[2].removesuffix(".py") for path in sys.argv[1:]} | {"km3d_ros"}
former = list(sys.path)
for path in sys.argv[1:]:
    sys.path[:] = [path.rpartition("/")[0], *former]
    try:
        runpy.run_path(path, run_name="imported")
    except ModuleNotFoundError as error:
        assert error.name.partition(".")[0] not in own, f"{path}: {error}"
"""


def test_every_benchmark_imports_what_exists():
    scripts = [str(path) for path in FOLDER.rglob("*.py") if path.name != "__init__.py"]
    assert len(scripts) > 20
    command = [sys.executable, "-c", IMPORT, *scripts]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)
    assert done.returncode == 0, done.stderr


def test_the_table_of_speed_has_a_row_for_each_configuration(tmp_path):
    text = printed("speed", "--quick", "--backends", "torch", "--data", str(tmp_path))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| lite")]
    assert [row[1:3] for row in rows][:2] == [["plain", "float32"], ["torch", "float32"]]
    ratios = [float(row[8]) for row in rows]
    assert ratios[0] == 1
    assert all(ratio > 0 for ratio in ratios)
    assert rows[1][11] == "0.00 % / 0.00 % |"


def test_plain_pipeline_has_the_positions_of_the_package():
    count, _, rest = printed("plain").partition(" ")
    assert int(count) > 80
    assert rest.startswith("objects, largest difference of a position: ")


def test_node_benchmark_prints_the_processor_seconds_of_each_answer():
    pytest.importorskip("rclpy")
    options = ("--rate=100", "--threads=1", "--seconds=2", "--cycles=1")
    figures = json.loads(printed("node", *options))
    assert figures["answered"] > 2
    spent = figures["processor_seconds"]
    # Answers per second, of which all of the two seconds may be more.
    assert 0 < spent["per_second"] / spent["per_frame"] < figures["answered"]
    assert len(figures["unconfigured_mb"]) == 2


def test_tracker_benchmark_prints_times_and_memory():
    pytest.importorskip("nav_msgs")
    options = ("--rate=25", "--seconds=2", "--objects=12", "--watched")
    figures = json.loads(printed("tracker_node", *options))
    assert 2 < figures["answered"] <= figures["sent"]
    assert figures["tracks"] > 0
    assert 0 < figures["milliseconds"]["p50"] <= figures["milliseconds"]["p95"]


def test_tracking_benchmark_without_trackeval_says_so():
    if importlib.util.find_spec("trackeval"):
        pytest.skip("trackeval is installed")
    assert printed("tracking").startswith("no trackeval here: nothing measured")


def test_gpu_benchmark_runs_on_a_processor():
    row = json.loads(printed("gpu", "--device", "cpu", "--quick").splitlines()[1])
    assert (row["backbone"], row["precision"]) == ("lite", "float32")
    assert row["paired"] > 0
    assert row["position_difference_at_20_m"] == pytest.approx(0, abs=1e-6)


def test_gpu_benchmark_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert printed("gpu") == "no GPU here: nothing measured\n"
