"""Town's speed on one core: `python benchmarks/town.py`.

Samples, renders and labels frames of 1280×384 pixels in one thread, after the textures are
painted. Measures the CPU time, of each frame the best of several repetitions, to reduce the
effect of other work on the machine. The limit is 30 frames per second.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from km3d_ros.town import render, sample_scene


def main() -> None:
    """Time the frames and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--goes", type=int, default=5, help="the best of so many counts")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    labels = sum(len(render(sample_scene(1, k)).objects) for k in range(args.frames))
    seconds = np.array(
        [min((_time(k) for _ in range(args.goes)), key=sum) for k in range(args.frames)]
    ).sum(0)
    print(f"frames per second   {args.frames / seconds.sum():.1f}")
    print(f"sampling a scene    {seconds[0] / args.frames * 1e3:.1f} ms")
    print(f"render and label    {seconds[1] / args.frames * 1e3:.1f} ms")
    print(f"labels per frame    {labels / args.frames:.1f}")


def _time(index: int) -> tuple[float, float]:
    """CPU seconds of sampling and of rendering one frame."""
    start = time.process_time()
    scene = sample_scene(1, index)
    sampled = time.process_time()
    render(scene)
    return sampled - start, time.process_time() - sampled


if __name__ == "__main__":
    main()
