"""How the network learns real streets: each part of 2D boxes, and a few 3D labels in addition.

    python benchmarks/experiments/streets.py NAME ... --weights town.safetensors \
        --town data/town --boxes boxes/a boxes/b.json --real kitti --seeds 0 1 2

Every run continues from weights that were trained on Town only. --boxes are real images with 2D
boxes, as of `km3d train`; --real is a KITTI-format folder with the splits train (few labels) and
val (for the figures). The figures of a run go to
benchmarks/results/experiments/streets-NAME-SEED.json. A run whose file exists is skipped.
`report.py` prints the tables of docs/experiments.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.data import Subset
from train import RESULTS

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.recall import recall_figures
from km3d_ros.evaluation.report import depth_figures
from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all, reported
from km3d_ros.inference.detector import Detector
from km3d_ros.training.dataset import Interleaved, Sources
from km3d_ros.training.fit import fit
from km3d_ros.training.initial_weights import from_weights
from km3d_ros.training.settings import Method, Plan

IOU = 0.5


@dataclass(frozen=True)
class Run:
    """boxes: whether the images with 2D boxes are seen. labels: real frames with 3D labels."""

    boxes: bool = True
    labels: int = 0
    method: Method = field(default_factory=Method)


ALONE = Method(consensus_weight=0.0)
RUNS = {
    "town": Run(boxes=False, method=Method(photometric=False)),
    "photometric": Run(boxes=False),
    "boxes": Run(method=Method(consensus_weight=0.0, extent_weight=0.0)),
    "extents": Run(method=ALONE),
    "consensus": Run(),
    **{f"labels-{n}": Run(labels=n, method=ALONE) for n in (25, 50, 110)},
    **{f"labels-{n}-consensus": Run(labels=n) for n in (25, 50, 110)},
}
"""The first five each add one part; the others add labels to "extents" and "consensus"."""


def main() -> None:
    """Train what is named and has no figures yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", default=list(RUNS), help=f"of {', '.join(RUNS)}")
    add("--weights", type=Path, required=True)
    add("--town", type=Path, required=True)
    add("--boxes", type=Path, nargs="+", required=True)
    add("--real", type=Path, required=True)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--steps", type=int, default=300)
    add("--input-size", type=int, nargs=2, default=(128, 416), help="height and width")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.names:
            path = RESULTS / f"streets-{name}-{seed}.json"
            if not path.exists():
                record = train(RUNS[name], seed, args)
                path.write_text(json.dumps(record, indent=1) + "\n")


def train(run: Run, seed: int, args: argparse.Namespace) -> dict:
    """Train and judge one model."""
    torch.manual_seed(seed)
    model, spec = from_weights(args.weights, tuple(args.input_size))
    labelled, real = KittiDataset(args.town), KittiDataset(args.real, "train")
    if run.labels:
        chosen = np.random.default_rng(seed).permutation(len(real))[: run.labels].tolist()
        labelled = Interleaved([labelled, Subset(real, chosen)])
    sources = Sources(labelled, boxed=open_boxes(args.boxes, spec.classes) if run.boxes else None)
    plan = Plan(
        args.steps,
        batch_size=8,
        boxes_batch_size=4,
        learning_rate=5e-4,
        precision="bfloat16",
        seed=seed,
    )
    cpu = torch.device("cpu")
    with TemporaryDirectory() as scratch:
        model = fit(model, spec, sources, plan, run.method, Path(scratch), cpu)
    detector = Detector.of_model(model, spec, cpu, LEAST_SCORE)
    record = {"steps": args.steps, "boxed_frames": len(sources.boxed or ())}
    for name, frames in (("real", KittiDataset(args.real, "val")), ("town", town_frames(args))):
        findings = detect_all(detector, frames)
        shown = reported(findings.results)
        record[name] = {
            "frames": len(frames),
            "ap_r40": {
                kind: {metric: values["R40"] for metric, values in metrics.items()}
                for kind, metrics in evaluate(findings.truth, findings.results, IOU).items()
            },
            **depth_figures(findings.truth, shown),
            **recall_figures(findings.truth, shown),
        }
    return record


def town_frames(args: argparse.Namespace) -> Subset:
    """Every thirtieth Town frame, to see what is forgotten; all of them are trained on."""
    frames = KittiDataset(args.town)
    return Subset(frames, range(0, len(frames), 30))


if __name__ == "__main__":
    main()
