"""Scale the scores of weights (Platt scaling), so that one threshold fits real streets and Town.

    python benchmarks/experiments/scores.py --weights streets.safetensors --real kitti \
        --exponent 0.75 --shift Pedestrian=0.5 --out scaled.safetensors

Scores are learned on Town and are too low on real images. The script prints the figures of the
score peak × confidence^e on labelled real frames (a KITTI-format folder): for cars with some
exponents e, for the other classes with some shifts of the heatmap's logits.
With --out it writes the scaled weights. The last layer of the head `prob` gets a slope and an
offset, so that sigmoid(slope * logit + offset) is close to sigmoid(logit)^e. The shifts are added
to the biases of the head `hm`. The false positives do not include people that are reported on
cars: they count only results that touch no labelled object. Look at pictures, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, logit

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.evaluation.kitti_ap import evaluate
from km3d_ros.evaluation.recall import FALSE_POSITIVES, RECALL, recall_figures
from km3d_ros.evaluation.validation import LEAST_SCORE, Findings, detect_all
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.options import SCORE_THRESHOLD
from km3d_ros.network import checkpoint

EXPONENTS = (1.0, 0.75, 2 / 3, 0.6, 0.55, 0.5)
SHIFTS = (0.0, 0.5, 1.0, 1.5, 2.0)
LOGITS = np.linspace(-4, 1, 101)
"""Range in which the scaled sigmoid is fitted: confidences of 2 to 73 %."""
IOU = 0.5


def main() -> None:
    """Print the table, and write the scaled weights if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--shift", nargs="*", default=[], metavar="CLASS=LOGITS")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    shifts = {name: float(value) for name, value in (item.split("=") for item in args.shift)}
    detector = Detector.from_checkpoint(args.weights, "cpu", LEAST_SCORE / 10)
    findings = detect_all(detector, KittiDataset(args.real, args.split))
    print("class       exponent  shift   AP2D  AP3D   found 0-15/15-30/30-50 m   false positives")
    for exponent in EXPONENTS:
        print(row(findings, "Car", exponent, 0.0))
    for name in findings.classes[1:]:
        for shift in SHIFTS:
            print(row(findings, name, args.exponent, shift))
    if args.out:
        scale(args.weights, args.exponent, shifts, args.out)


def row(findings: Findings, name: str, exponent: float, shift: float) -> str:
    """Figures of a class with this exponent of the confidence and shift of the peaks' logits."""
    results = [
        [
            replace(item, score=float(score))
            for item, score in zip(
                items,
                expit(logit(seen.peak_score) + shift) * seen.confidence**exponent,
                strict=True,
            )
        ]
        for items, seen in zip(findings.results, findings.detections, strict=True)
    ]
    results = [[item for item in items if item.score >= LEAST_SCORE] for items in results]
    ap = evaluate(findings.truth, results, IOU)[name]
    shown = [[item for item in items if item.score >= SCORE_THRESHOLD] for items in results]
    figures = recall_figures(findings.truth, shown)
    found = " / ".join(f"{100 * (part or 0):.0f}" for part in figures[RECALL][name].values())
    made_up = figures[FALSE_POSITIVES][name]
    values = f"{ap['2d']['R40'][1]:4.1f}  {ap['3d']['R40'][1]:4.1f}   {found:>24}   {made_up:.2f}"
    return f"{name:10}  {exponent:8.2f}  {shift:5.1f}   {values}"


def slope_and_offset(exponent: float) -> Sequence[float]:
    """Of logits, so that their sigmoid is close to the former one to the power of `exponent`."""
    wanted = (1 / (1 + np.exp(-LOGITS))) ** exponent
    return np.polyfit(LOGITS, np.log(wanted / (1 - wanted)), 1).tolist()


def scale(weights: Path, exponent: float, shifts: Mapping[str, float], out: Path) -> None:
    """Write the weights with a scaled confidence and shifted peaks."""
    model, spec = checkpoint.load(weights)
    slope, offset = slope_and_offset(exponent)
    last = model.heads["prob"][-1]
    with torch.no_grad():
        last.weight.mul_(slope)
        last.bias.mul_(slope).add_(offset)
        for name, shift in shifts.items():
            model.heads["hm"][-1].bias[spec.classes.index(name)] += shift
    scaled = {"exponent": exponent, "slope": slope, "offset": offset, "shifts": dict(shifts)}
    spec = replace(spec, training=spec.training | {"scores": scaled})
    checkpoint.save(out, model, spec, torch.float16)
    print(f"{out}: {scaled}")


if __name__ == "__main__":
    main()
