"""The detector on a GPU, in some minutes: `python benchmarks/gpu.py --save`.

Measures from a camera image (1280×384) on the host to tables on the host: lite with the embedded
weights, res_18 and dla_34 with random weights, in float16 and float32, as one CUDA graph and in
eager mode, for one camera and for six at once. Also prints the differences of positions from those
of the CPU in float32. Needs only torch, numpy, opencv and safetensors. `--device cpu --quick` only
tests that it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.detections import unpack
from km3d_ros.inference.detector import DEFAULT_WEIGHTS
from km3d_ros.inference.graph import tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import GRM
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import ModelSpec

RESULTS = Path(__file__).parent / "results" / "gpu.json"
CAMERAS = (1, 6)
COMPARED = 20
"""Objects of the best peaks whose positions are compared."""
COMPARED_AT = 20.0
"""Metres. Differences are scaled to an object at this distance."""
PAIRED = 2.0
"""Largest distance in pixels between the centres of the same object."""
BARS = (
    ("res_18", "float16", "p50", 1.5),
    ("res_18", "float16", "p99", 2.5),
    ("dla_34", "float16", "p50", 4.0),
)
"""Limit in milliseconds, for one camera on an H100."""
MOST_FOR_SIX, EXACT = 2.5, 0.01
"""Limits: time of six cameras relative to one; metres at 20 m in float32."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--backbones", nargs="+", default=["lite", "res_18", "dla_34"])
    parser.add_argument("--quick", action="store_true", help="lite alone, two frames")
    parser.add_argument("--save", action="store_true", help="into benchmarks/results/gpu.json")
    args = parser.parse_args()
    if args.quick:
        args.backbones, args.frames = ["lite"], 2
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return
    device = torch.device(args.device)
    # Processors only emulate float16.
    precisions = ("float32",) if device.type == "cpu" else ("float16", "float32")
    # As for the CUDA graph, so that the eager mode does the same work.
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, PyTorch {torch.__version__}; milliseconds")
    rows = []
    for backbone in args.backbones:
        for precision in precisions:
            row = measured(*network(backbone), device, precision, args.frames)
            rows.append({"backbone": backbone, "precision": precision} | row)
            print(json.dumps(rows[-1]), flush=True)
    if device.type == "cuda":
        print("\n".join(verdicts(rows)))
    if args.save:
        figures = {"device": name, "torch": torch.__version__, "rows": rows}
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Each limit with its figure."""
    found = []
    for backbone, precision, percentile, most in BARS:
        for row in rows:
            if (row["backbone"], row["precision"]) == (backbone, precision):
                figure = row["cameras_1"][percentile]
                found.append((f"{backbone} {precision} {percentile}, ms", figure, most))
    for row in rows:
        name = f"{row['backbone']} {row['precision']}"
        found.append((f"{name}, six cameras by one", row["six_by_one"], MOST_FOR_SIX))
        if row["precision"] == "float32":
            found.append((f"{name}, m at 20 m", row["position_difference_at_20_m"], EXACT))
    return [
        f"{name}: {figure:.3g}, bar {most}, {'met' if figure <= most else 'MISSED'}"
        if figure is not None
        else f"{name}: no peak to compare"
        for name, figure, most in found
    ]


def network(backbone: str) -> tuple[KM3DNet, ModelSpec]:
    """The embedded weights, or random ones."""
    if backbone == "lite":
        return checkpoint.load(DEFAULT_WEIGHTS)
    torch.manual_seed(0)
    spec = ModelSpec(backbone, head_width=BACKBONES[backbone].head_width)
    return KM3DNet(spec).eval(), spec


def measured(
    model: KM3DNet, spec: ModelSpec, device: torch.device, precision: str, frames: int
) -> dict[str, Any]:
    """Milliseconds, memory and differences of one network."""
    backend = TorchBackend(model, spec, device, precision)
    image, camera = picture()
    view = virtual_camera(camera, spec.input_size)
    row: dict[str, Any] = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for count in CAMERAS:
        images, views = [image] * count, [view] * count

        def answer(images: list = images, views: list = views) -> None:
            backend.run(GraphInputs.of(images, views))

        row[f"cameras_{count}"] = milliseconds(answer, frames)
    one, six = (row[f"cameras_{count}"]["p50"] for count in CAMERAS)
    row["six_by_one"] = round(six / one, 2)
    inputs = GraphInputs.of([image], [view])
    row["without_image_scaling"] = milliseconds(lambda: backend.run(inputs), frames)
    row["eager"] = milliseconds(lambda: eager(backend, inputs, device), max(frames // 5, 2))
    if device.type == "cuda":
        row["peak_mb"] = torch.cuda.max_memory_allocated(device) // 2**20
    expected = TorchBackend(model, spec, torch.device("cpu")).run(inputs)
    consistent = GRM.index("consistent")
    return row | differences(backend.run(inputs)[consistent], expected[consistent])


@torch.inference_mode()
def eager(backend: TorchBackend, inputs: GraphInputs, device: torch.device) -> None:
    """The same without a CUDA graph."""
    for table in backend.graph(*(tensor.to(device) for tensor in tensors(inputs))):
        table.cpu()


def differences(found: np.ndarray, expected: np.ndarray) -> dict[str, float | None]:
    """Largest ones of score and, for objects at 20 m, of position, among the best peaks in both.

    None if no peak is in both.

    Scores of random weights are close to each other: peaks are paired by where they are.
    """
    mine, theirs = unpack(found[0]), unpack(expected[0])[:COMPARED]
    apart = theirs.keypoints[:, None, 8] - mine.keypoints[None, :, 8]
    apart = np.nan_to_num(np.linalg.norm(apart, axis=-1), nan=1e9)
    apart += 1e6 * (theirs.class_index[:, None] != mine.class_index)
    pairs = apart.min(1) < PAIRED
    mine, theirs = mine[apart.argmin(1)[pairs]], theirs[pairs]
    usable = np.isfinite(theirs.center).all(1) & np.isfinite(mine.center).all(1)
    moved = np.linalg.norm(mine.center - theirs.center, axis=1)
    moved *= COMPARED_AT / np.abs(theirs.center[:, 2])
    return {
        "paired": int(pairs.sum()),
        "score_difference": float(np.abs(mine.score - theirs.score).max())
        if pairs.any()
        else None,
        "position_difference_at_20_m": float(moved[usable].max()) if usable.any() else None,
    }


def picture() -> tuple[np.ndarray, CameraModel]:
    """Noise, and a camera for it."""
    image = np.random.default_rng(0).integers(0, 256, (384, 1280, 3), np.uint8)
    return image, CameraModel.from_intrinsics([[720, 0, 640], [0, 720, 192], [0, 0, 1]], 1280, 384)


def milliseconds(function: Callable[[], None], repeat: int) -> dict[str, float]:
    """p50, p95 and p99 of many calls that wait for their result."""
    for _ in range(min(repeat, 10)):
        function()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return {f"p{p}": round(1e3 * float(np.percentile(seconds, p)), 3) for p in (50, 95, 99)}


if __name__ == "__main__":
    main()
