"""Town's speed on one core: `python benchmarks/town.py`.

Samples, renders and labels frames of 1280×384 pixels in one thread, after the texture banks are
painted. Prints frames per second of CPU time (what one core does undisturbed) and of wall time;
the bar is 30 frames per second.
"""

from __future__ import annotations

import argparse
import time

import cv2

from km3d_ros.data.town import render, sample_scene


def main() -> None:
    """Time the frames and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for index in range(60):
        render(sample_scene(0, index))
    wall, cpu = time.perf_counter(), time.process_time()
    scenes = [sample_scene(1, index) for index in range(args.frames)]
    sampled = time.process_time()
    labels = sum(len(render(scene).objects) for scene in scenes)
    wall, done = time.perf_counter() - wall, time.process_time()
    print(
        f"frames per second   {args.frames / (done - cpu):.1f} CPU, {args.frames / wall:.1f} wall"
    )
    print(f"sampling a scene    {(sampled - cpu) / args.frames * 1e3:.1f} ms CPU")
    print(f"render and label    {(done - sampled) / args.frames * 1e3:.1f} ms CPU")
    print(f"labels per frame    {labels / args.frames:.1f}")


if __name__ == "__main__":
    main()
