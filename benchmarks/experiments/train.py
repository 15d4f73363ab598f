"""Train configurations of docs/experiments.md with several seeds.

    python benchmarks/experiments/train.py NAME ... --seeds 0 1 2

Every run is a small training on Town (320×96 pixels, `lite` from ImageNet features) whose figures
go to benchmarks/results/experiments/NAME-SEED.json. A run whose file exists is skipped; an
interrupted one continues.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure import figures
from torch.utils.data import Subset

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.network.spec import OBJECT_HEADS
from km3d_ros.town.dataset import prepare, write_stills
from km3d_ros.training.dataset import Sources
from km3d_ros.training.fit import fit
from km3d_ros.training.initial_weights import new_model, new_spec
from km3d_ros.training.settings import Method, Plan

RESULTS = Path(__file__).parents[1] / "results" / "experiments"
INPUT_SIZE = (96, 320)
FRAMES, TRAIN_SEED = 4000, 11
HELD_OUT, HELD_OUT_SEED = 1000, 12


@dataclass(frozen=True)
class Run:
    """labels: part of the frames whose labels are used. consensus: on the other frames."""

    steps: int = 2000
    labels: float = 1.0
    consensus: bool = False
    auxiliary: bool = True
    method: Method = field(default_factory=Method)


LONG = 3000
"""Steps until few labels are learned by heart and many are not."""
RUNS = {
    "labels-2.5": Run(LONG, 0.025),
    "labels-5": Run(LONG, 0.05),
    "labels-10": Run(LONG, 0.1),
    "labels-100": Run(LONG),
    "consensus-2.5": Run(LONG, 0.025, consensus=True),
    "consensus-5": Run(LONG, 0.05, consensus=True),
    "consensus-10": Run(LONG, 0.1, consensus=True),
    "full": Run(),
    "no-dropout": Run(method=Method(keypoint_dropout=0.0)),
    "plain-l1": Run(method=Method(depth_guided=False)),
    "no-position": Run(method=Method(position_weight=0.0)),
    "no-auxiliary": Run(auxiliary=False),
    "no-flip": Run(method=Method(flip=False)),
    "no-auxiliary-2.5": Run(LONG, 0.025, auxiliary=False),
    "no-flip-2.5": Run(LONG, 0.025, method=Method(flip=False)),
}


def main() -> None:
    """Train what is named and has no figures yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RUNS), help=f"of {', '.join(RUNS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--data", type=Path, default=Path("out/experiments"), help="for the frames"
    )
    args = parser.parse_args()
    frames = town(args.data / "train", FRAMES, TRAIN_SEED)
    held_out = town(args.data / "held_out", HELD_OUT, HELD_OUT_SEED)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.names:
            path = RESULTS / f"{name}-{seed}.json"
            if not path.exists():
                record = train(RUNS[name], seed, frames, held_out)
                path.write_text(json.dumps(record, indent=1) + "\n")


def town(folder: Path, count: int, seed: int) -> KittiDataset:
    """Town frames of the size of the experiments; those that exist are kept."""
    prepare(folder)
    for _ in write_stills(folder, count, seed, INPUT_SIZE[::-1], focal=None, workers=2):
        pass
    return KittiDataset(folder)


def train(run: Run, seed: int, frames: KittiDataset, held_out: KittiDataset) -> dict:
    """Train and measure one model."""
    torch.manual_seed(seed)
    spec = new_spec("lite", INPUT_SIZE)
    if not run.auxiliary:
        spec = replace(spec, heads=("hm", *OBJECT_HEADS))
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(seed)).tolist()
    count = round(run.labels * len(frames))
    labelled = Subset(frames, order[:count])
    unlabelled = Subset(frames, order[count:]) if run.consensus else None
    plan = Plan(
        run.steps,
        batch_size=8,
        unlabelled_batch_size=4,
        precision="bfloat16",
        seed=seed,
        workers=0,
    )
    with TemporaryDirectory() as scratch:
        cpu = torch.device("cpu")
        sources = Sources(labelled, unlabelled)
        model = fit(new_model(spec), spec, sources, plan, run.method, Path(scratch), cpu)
    return {"steps": run.steps} | figures(model, spec, held_out)


if __name__ == "__main__":
    main()
