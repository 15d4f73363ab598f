"""Speed and accuracy of every backend: `python benchmarks/speed.py`.

Measures from a camera image (1280×384) to detections. Every configuration has a separate process.
The configurations alternate in rounds, so that load on the machine affects all of them alike. The
base of the ratios is the plain pipeline (`plain.py`) in the same rounds.

`lite` runs its embedded weights. Its accuracy is measured, too: AP of cars, and the differences of
their depths from those of PyTorch in float32, on Town frames. The other backbones have random
weights without meaningful results, unless --weights gives some. Takes some minutes; --quick takes
seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.accuracy import accuracy, town
from measuring.machine import describe, gigaflops, peaks
from measuring.worker import Configuration, Worker

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.inference.backends.backend import fast_bfloat16
from km3d_ros.inference.detector import DEFAULT_WEIGHTS
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import ModelSpec

RESULTS = Path(__file__).parent / "results"
BACKENDS = ("torch", "openvino")
JUDGED_SEED = 2
CALIBRATION_SEED, CALIBRATION = 5, 100
"""Scenes and frames that int8 graphs are calibrated on."""
SCARCE = 8
"""Frames for random weights, for which only the time is measured."""

HEADINGS = (
    *("backbone", "backend", "precision", "preprocess", "network", "decode"),
    *("total p50 / p95 / p99", "frames/s", "× plain", "peak MB", "AP3D", "depth change p50 / p95"),
)
NOTE = """
Milliseconds; those of the stages are medians. × plain: the median of the plain pipeline by that of
this row. AP3D: cars, R40, moderate, overlap 0.5. Depth change: of reported cars, to PyTorch in
float32. Random weights have neither.
"""


def main() -> None:
    """Measure time and accuracy, and print Markdown."""
    args = arguments()
    frames = town(args.data / "town", max(args.judged, 2), JUDGED_SEED)
    report: dict[str, Any] = {
        "machine": describe(),
        "peak_gigaflops_per_second": peaks(),
        "gigaflops": {},
        "rows": [],
    }
    for backbone in args.backbones:
        wanted = configurations(backbone, args)
        report["gigaflops"][backbone] = gigaflops(wanted[0].weights)
        report["rows"] += measured(wanted, frames, args)
    print(markdown(report))
    if args.save:
        (RESULTS / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / "speed.md").write_text(markdown(report) + "\n")


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--backbones", nargs="+", choices=BACKBONES, default=["lite", "res_18", "dla_34"])
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--weights", nargs="+", metavar="NAME=FILE", default=[], help="weights of backbones")
    add("--rounds", type=int, default=6, help="default: %(default)s")
    add("--seconds", type=float, default=0.6, help="of a turn (default: %(default)s)")
    add("--judged", type=int, default=200, help="Town frames (default: %(default)s)")
    add("--no-int8", action="store_true", help="leave out int8 graphs")
    add("--data", type=Path, default=Path("out/speed"), help="scratch (default: %(default)s)")
    add("--save", action="store_true", help="into benchmarks/results/speed.{md,json}")
    add("--quick", action="store_true", help="lite alone, no int8, few frames")
    args = parser.parse_args()
    args.weights = dict(item.split("=", 1) for item in args.weights)
    if args.quick:
        args.backbones, args.rounds, args.seconds = ["lite"], 2, 0.1
        args.judged, args.no_int8 = 2, True
    return args


def configurations(backbone: str, args: argparse.Namespace) -> list[Configuration]:
    """The configurations that run here: first the base, then PyTorch in float32."""
    weights = weights_of(backbone, args)
    there = [name for name in args.backends if name == "torch" or find_spec(name)]
    kinds = [("plain", "float32"), ("torch", "float32")]
    if "torch" in there and fast_bfloat16():
        kinds.append(("torch", "bfloat16"))
    kinds += [(name, "float32") for name in there if name != "torch"]
    if "openvino" in there and fast_bfloat16():
        kinds.append(("openvino", "bfloat16"))
    found = [Configuration(backbone, *kind, weights) for kind in kinds]
    count = CALIBRATION if judged(backbone, args) else SCARCE
    graph = None if args.no_int8 else quantised(backbone, weights, args.data, count)
    runtimes = [name for name in there if graph and name != "torch"]
    return found + [Configuration(backbone, name, "int8", graph) for name in runtimes]


def weights_of(backbone: str, args: argparse.Namespace) -> Path:
    """The given weights, the embedded ones, or random ones."""
    if backbone in args.weights:
        return Path(args.weights[backbone])
    if backbone == "lite":
        return DEFAULT_WEIGHTS
    path = args.data / f"{backbone}.safetensors"
    torch.manual_seed(0)
    spec = ModelSpec(backbone, head_width=BACKBONES[backbone].head_width)
    checkpoint.save(path, KM3DNet(spec), spec)
    return path


def judged(backbone: str, args: argparse.Namespace) -> bool:
    """Whether the weights of the configuration are trained."""
    return backbone == "lite" or backbone in args.weights


def quantised(backbone: str, weights: Path, folder: Path, count: int) -> Path | None:
    """An int8 graph of these weights, if the installed packages can make one."""
    if not (find_spec("km3d_ros.cli.export") and find_spec("onnxruntime")):
        return None
    frames = folder / "calibration"
    town(frames, count, CALIBRATION_SEED)
    graph = folder / f"{backbone}_int8.onnx"
    command = [sys.executable, "-m", "km3d_ros.cli", "export", graph, "--weights", weights]
    command += ["--int8", "--calibrate", frames, "--frames", count]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return graph


def measured(
    wanted: list[Configuration], frames: KittiDataset, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row of the table for each configuration of a backbone."""
    workers = [Worker(configuration, frames.root) for configuration in wanted]
    for worker in workers:
        worker.wait()
    times: list[list[list[float]]] = [[] for _ in workers]
    for _ in range(args.rounds):
        for worker, mine in zip(workers, times, strict=True):
            mine += worker.ask("time", args.seconds)
    rows = [summary(*pair) for pair in zip(wanted, times, strict=True)]
    count = args.judged if judged(wanted[0].backbone, args) else 0
    reference = workers[1].ask("judge", count) if count else None
    for row, worker in zip(rows, workers, strict=True):
        row["times_plain"] = round(rows[0]["total"][0] / row["total"][0], 2)
        row["peak_mb"] = worker.ask("megabytes")
        if count and row["backend"] != "plain":
            row |= accuracy(frames, worker.ask("judge", count), reference)
        worker.stop()
    return rows


def summary(configuration: Configuration, times: list[list[float]]) -> dict[str, Any]:
    """Milliseconds: medians of the stages; p50, p95 and p99 of their sum."""
    table = 1e3 * np.array(times)
    total = [round(float(p), 2) for p in np.percentile(table.sum(1), (50, 95, 99))]
    stages = np.median(table, axis=0).round(2).tolist()
    return {
        "backbone": configuration.backbone,
        "backend": configuration.backend,
        "precision": configuration.precision,
        **dict(zip(("preprocess", "network", "decode"), stages, strict=True)),
        "total": total,
        "frames": len(times),
        "frames_per_second": round(1e3 / total[0], 1),
    }


def markdown(report: dict[str, Any]) -> str:
    """The table and the machine."""
    peak = ", ".join(f"{n} {p:.0f}" for n, p in report["peak_gigaflops_per_second"].items())
    work = ", ".join(f"{n} {g}" for n, g in report["gigaflops"].items())
    lines = [
        f"{report['machine']}. Largest matrix product, GFLOP/s: {peak}. GFLOP of a frame: {work}.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * len(HEADINGS),
    ]
    return "\n".join([*lines, *map(line, report["rows"])]) + "\n" + NOTE.rstrip()


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    change = row.get("depth_change")
    cells = [row[name] for name in ("backbone", "backend", "precision")]
    cells += [row[name] for name in ("preprocess", "network", "decode")]
    cells += [" / ".join(f"{p:.1f}" for p in row["total"]), row["frames_per_second"]]
    cells += [row["times_plain"], row["peak_mb"], row.get("ap3d", "")]
    cells += [f"{change[0]:.2f} % / {change[1]:.2f} %" if change else ""]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
