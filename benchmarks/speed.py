"""How quick every backend is, and what it costs in accuracy: `python benchmarks/speed.py`.

From a camera image (1280×384) to detections, one configuration after the other in a process of its
own, in rounds, so that the drift of a busy machine hits all alike. The base of the ratios is the
plain pipeline (`plain.py`), in the same rounds. Writes benchmarks/results/speed.md and .json.

`lite` runs its embedded weights and is judged: AP of cars, and by how much the depths of the cars
that are reported differ from those of PyTorch in float32, on 200 Town frames. The other backbones
have random weights here, of which both would say nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainDetector

from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import KittiDataset, KittiFrame, KittiObject
from km3d_ros.data.town.dataset import prepare, write_stills
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.overlap import image_iou
from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.backends.backend import fast_bfloat16
from km3d_ros.inference.detector import DEFAULT_WEIGHTS, Detector
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import SCORE_THRESHOLD, ModelSpec

RESULTS = Path(__file__).parent / "results"
SIZE = (1280, 384)
JUDGED, JUDGED_SEED = 200, 2
CALIBRATION, CALIBRATION_SEED = 100, 5
"""Frames that int8 graphs are calibrated on."""


HEADINGS = (
    *("backbone", "backend", "precision", "preprocess", "network", "decode"),
    *("total p50 / p95 / p99 ms", "frames/s", "× plain", "peak MB", "AP3D@0.5"),
    "depth change p50 / p95",
)


@dataclass(frozen=True)
class Configuration:
    """backend: "plain" for the base. weights: a checkpoint, or a graph for int8."""

    backbone: str
    backend: str
    precision: str
    weights: Path


def main() -> None:
    """Measure, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["lite", "res_18", "dla_34"])
    parser.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=5, help="in a round (default: %(default)s)")
    parser.add_argument("--judged", type=int, default=JUDGED, help="default: %(default)s")
    parser.add_argument("--no-int8", action="store_true", help="leave out int8 graphs")
    parser.add_argument("--data", type=Path, default=Path("out/speed"), help="scratch folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    frames = town(args.data / "town", max(args.judged, args.frames), JUDGED_SEED)
    rows = []
    for backbone in args.backbones:
        rows += measured(configurations(backbone, args), frames, args)
        write(rows, args.results)
    print((args.results / "speed.md").read_text())


def town(folder: Path, count: int, seed: int) -> KittiDataset:
    """Town frames; those that exist are kept."""
    prepare(folder)
    for _ in write_stills(folder, count, seed, SIZE, focal=None, workers=2):
        pass
    return KittiDataset(folder)


def configurations(backbone: str, args: argparse.Namespace) -> list[Configuration]:
    """What can run here, the base first and PyTorch in float32 second."""
    weights = args.data / f"{backbone}.safetensors"
    if backbone == "lite":
        weights = DEFAULT_WEIGHTS
    elif not weights.exists():
        torch.manual_seed(0)
        spec = ModelSpec(backbone, head_width=BACKBONES[backbone].head_width)
        checkpoint.save(weights, KM3DNet(spec), spec)
    kinds = [("plain", "float32"), ("torch", "float32")]
    kinds += [("torch", "bfloat16")] if fast_bfloat16() else []
    kinds += [("onnxruntime", "float32")] if find_spec("onnxruntime") else []
    kinds += [("openvino", "float32")] if find_spec("openvino") else []
    kinds += [("openvino", "bfloat16")] if find_spec("openvino") and fast_bfloat16() else []
    found = [Configuration(backbone, *kind, weights) for kind in kinds]
    if find_spec("onnxruntime") and not args.no_int8:
        graph = quantised(backbone, weights, args.data)
        runtimes = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
        found += [Configuration(backbone, name, "int8", graph) for name in runtimes]
    return found


def quantised(backbone: str, weights: Path, folder: Path) -> Path:
    """An int8 graph of these weights."""
    town(folder / "calibration", CALIBRATION, CALIBRATION_SEED)
    graph = folder / f"{backbone}_int8.onnx"
    command = [sys.executable, "-m", "km3d_ros.cli", "export", graph, "--weights", weights]
    command += ["--int8", "--calibrate", folder / "calibration"]
    subprocess.run(list(map(str, command)), check=True)
    return graph


def measured(
    wanted: list[Configuration], frames: KittiDataset, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row of the table for each configuration of a backbone."""
    workers = [Worker(configuration, frames.root) for configuration in wanted]
    times: list[list[list[float]]] = [[] for _ in workers]
    for _ in range(args.rounds):
        for worker, mine in zip(workers, times, strict=True):
            mine += worker.ask("time", args.frames)
    rows = [summary(*pair) for pair in zip(wanted, times, strict=True)]
    base = rows[0]["total"][0]
    judged = wanted[0].backbone == "lite" and args.judged
    reference = workers[1].ask("judge", args.judged) if judged else None
    for row, worker in zip(rows, workers, strict=True):
        row["times_plain"] = round(base / row["total"][0], 2)
        if judged and row["backend"] != "plain":
            row |= accuracy(frames, worker.ask("judge", args.judged), reference)
        row["peak_mb"] = worker.stop()
    return rows


class Worker:
    """A configuration in a process of its own."""

    def __init__(self, configuration: Configuration, data: Path):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, configuration, data))
        self._process.start()
        self._connection.recv()

    def ask(self, what: str, count: int) -> Any:
        """The answer to a request."""
        self._connection.send((what, count))
        return self._connection.recv()

    def stop(self) -> int:
        """End the process; returns the most memory that it has had, in megabytes."""
        peak = self.ask("stop", 0)
        self._process.join()
        return peak


def serve(connection: Connection, configuration: Configuration, data: Path) -> None:
    """Be a worker."""
    frames = KittiDataset(data)
    detector = opened(configuration)
    seen = [view(frames[i]) for i in range(2)]
    run(detector, *seen[0])
    connection.send("ready")
    while True:
        what, count = connection.recv()
        if what == "time":
            connection.send([run(detector, *seen[i % len(seen)]) for i in range(count)])
        elif what == "judge":
            judged = torch.utils.data.Subset(frames, range(count))
            connection.send(detect_all(detector, judged).results)
        else:
            connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
            return


def opened(configuration: Configuration) -> Detector | PlainDetector:
    """The detector of a configuration, which must not be another one."""
    if configuration.backend == "plain":
        return PlainDetector(*checkpoint.load(configuration.weights))
    precision = "auto" if configuration.precision == "int8" else configuration.precision
    detector = Detector.from_checkpoint(
        configuration.weights,
        "cpu",
        LEAST_SCORE,
        precision=precision,
        backend=configuration.backend,
    )
    if detector.choice.backend.name != configuration.backend:
        raise RuntimeError(f"{configuration.backend} cannot run {configuration.weights}")
    return detector


def run(detector: Detector | PlainDetector, image: np.ndarray, camera: CameraModel) -> list[float]:
    """Seconds of preprocess, network and decode."""
    if isinstance(detector, PlainDetector):
        stages = detector(image, camera)[2]
    else:
        _, stages = detector.batch([image], [camera])
    return [stages.preprocess, stages.network, stages.decode]


def view(frame: KittiFrame) -> tuple[np.ndarray, CameraModel]:
    """Image and camera of a frame."""
    image = read_image(frame.image_path)
    return image, CameraModel.from_projection(frame.projection, *image.shape[1::-1])


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
        "frames_per_second": round(1e3 / total[0], 1),
    }


Results = list[list[KittiObject]]


def accuracy(frames: KittiDataset, found: Results, reference: Results) -> dict[str, Any]:
    """AP3D|R40 of cars, moderate, overlap 0.5; relative change of depth to the reference."""
    truth = [frames[i].objects for i in range(len(found))]
    changes = []
    for mine, theirs in zip(found, reference, strict=True):
        mine, theirs = (
            [o for o in objects if o.class_name == "Car" and o.score >= SCORE_THRESHOLD]
            for objects in (mine, theirs)
        )
        overlap = image_iou(theirs, mine)
        for i, row in enumerate(overlap):
            if len(row) and row.max() > 0.5:
                changes.append(abs(mine[row.argmax()].center[2] / theirs[i].center[2] - 1))
    median, high = np.percentile(changes, (50, 95)) if changes else (0.0, 0.0)
    ap = evaluate(truth, found, 0.5)["Car"]["3d"]["R40"][1]
    percent = [round(1e2 * float(change), 3) for change in (median, high)]
    return {"ap3d": round(ap, 2), "depth_change": percent}


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """The table as JSON and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    for row in rows:
        change = row.get("depth_change")
        cells = [row["backbone"], row["backend"], row["precision"]]
        cells += [row["preprocess"], row["network"], row["decode"]]
        cells += [" / ".join(f"{p:.1f}" for p in row["total"]), row["frames_per_second"]]
        cells += [row["times_plain"], row["peak_mb"], row.get("ap3d", "")]
        cells += [f"{change[0]:.2f} % / {change[1]:.2f} %" if change else ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    (folder / "speed.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
