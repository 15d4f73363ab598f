"""The demo: `python -m km3d_ros.demo --out out/demo`.

It renders a drive through Town into a bag and plays the bag into the detector and the tracker over
DDS. It records inputs and outputs, compares them with the truth, and draws them as a video.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from km3d_ros.bag import BagWriter
from km3d_ros.cli._types import number, whole
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo import session
from km3d_ros.demo.drive import RATE, render_drive
from km3d_ros.demo.recorded_frames import read_answers
from km3d_ros.demo.summary import summarize, table
from km3d_ros.demo.topics import CAMERA_INFO, IMAGE, ODOMETRY
from km3d_ros.demo.video import write_film
from km3d_ros.errors import InputError
from km3d_ros.inference.detector import DEFAULT_WEIGHTS
from km3d_ros.network import checkpoint
from km3d_ros.node.compatibility import ON_THIS_MACHINE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0 if every frame was answered, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m km3d_ros.demo",
        description="A rendered drive through the node, recorded, scored and filmed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for results")
    parser.add_argument("--frames", type=whole(1), default=80, help="length of the drive")
    parser.add_argument(
        "--rate",
        type=number(0.1, 1000, "a rate of 0.1 to 1000 Hz"),
        default=RATE,
        help="frames a second, Hz",
    )
    parser.add_argument("--seed", type=whole(0), default=7, help="of the drive")
    parser.add_argument("--weights", type=Path, help="weights file instead of the embedded one")
    args = parser.parse_args(argv)
    # DDS traffic of the demo stays on this machine.
    for name, value in ON_THIS_MACHINE.items():
        os.environ.setdefault(name, value)
    try:
        return run(args.out, args.frames, args.rate, args.seed, args.weights)
    except InputError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(out: Path, frames: int, rate: float, seed: int, weights: Path | None) -> int:
    """Run the demo into a folder; returns the exit code."""
    classes = checkpoint.read_spec(weights or DEFAULT_WEIGHTS).classes
    sent, recorded = out / "input.mcap", out / "drive.mcap"
    truth = record(sent, frames, seed, rate)
    print(f"Playing {frames} frames at {rate:g} Hz into the node ...", flush=True)
    clocking = session.run(sent, recorded, frames, weights)
    answers = read_answers(recorded, classes)
    summary = summarize(recorded, clocking, answers, truth, classes)
    paths = [recorded, out / "summary.json"]
    paths[1].write_text(json.dumps(summary, indent=2) + "\n")
    if answers:
        paths += write_film(out, answers, truth, classes, rate)
    print(table(summary))
    print("\n".join(f"  {path}" for path in paths))
    missing = frames - len(answers)
    if missing:
        print(
            f"demo: {missing} of {frames} frames were not answered: is this machine busy, or too "
            f"slow for {rate:g} Hz (--rate)?",
            file=sys.stderr,
        )
    return 1 if missing else 0


def record(path: Path, frames: int, seed: int, rate: float) -> dict[int, list[KittiObject]]:
    """Record a rendered drive in a bag; returns the true objects by stamp in nanoseconds."""
    truth = {}
    with BagWriter(path) as writer:
        for frame in render_drive(frames, seed, rate):
            writer.write(ODOMETRY, frame.odometry, frame.stamp)
            writer.write(CAMERA_INFO, frame.info, frame.stamp)
            writer.write(IMAGE, frame.image, frame.stamp)
            truth[frame.stamp] = frame.objects
    return truth


if __name__ == "__main__":
    sys.exit(main())
