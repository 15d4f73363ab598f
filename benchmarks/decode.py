"""Decoding and GRM of 100 objects on one CPU core: `python benchmarks/decode.py`.

The input is the network's output maps of 96×320 cells (an input of 384×1280), the output is
`Detections`. The network is not included. Prints the median and the 95th percentile in
milliseconds. The limit is 2 ms.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from km3d_ros.inference.preprocess import input_affine
from km3d_ros.inference.table import pack
from torch import Tensor

from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.decode import decode, find_peaks, locate
from km3d_ros.inference.detections import Detections
from km3d_ros.network.spec import STRIDE, ModelSpec

SPEC = ModelSpec("res_18")
CAMERA = CameraModel.from_intrinsics([[721, 0, 620], [0, 721, 187], [0, 0, 1]], 1242, 375)
AFFINE = input_affine(CAMERA, SPEC.input_size)


def head_maps() -> dict[str, Tensor]:
    """Pseudo-random maps, a car at 20 m at every cell."""
    random = torch.Generator().manual_seed(0)

    def noise(channels: int) -> Tensor:
        return torch.randn(1, channels, 96, 320, generator=random)

    size = torch.tensor([3.9, 1.6, 1.5])
    points = keypoints(Boxes3D(torch.tensor([0, 0, 20.0]), size, torch.tensor(-1.2)))
    pixels = points[:, :2] / points[:, 2:] * CAMERA.fx * AFFINE[0, 0] / STRIDE
    return {
        "hm": 2 * noise(3) - 4,
        "hps": pixels.float().reshape(1, 18, 1, 1) + 0.3 * noise(18),
        "dim": size.flip(0).reshape(1, 3, 1, 1) + 0.1 * noise(3),
        "rot": noise(8),
        "prob": noise(1),
    }


def detect(maps: dict[str, Tensor], method: str) -> Detections:
    """What a published network's outputs become."""
    peaks = find_peaks(maps["hm"], 100)
    heads = {
        name: maps[name][0, :, peaks.y[0], peaks.x[0]].T[None]
        for name in ("hps", "dim", "rot", "prob")
    }
    objects = decode(peaks, heads, SPEC)[0]
    found = locate(objects, AFFINE, CAMERA, SPEC.noise, method)
    return found[pack(found).isfinite().all(1)]


def main() -> None:
    """Time both methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=500, help="frames (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    maps = head_maps()
    for method in ("published", "consistent"):
        seconds = []
        with torch.inference_mode():
            for _ in range(args.repeat):
                start = time.perf_counter()
                detections = detect(maps, method)
                seconds.append(time.perf_counter() - start)
        median, late = np.percentile(seconds, (50, 95)) * 1e3
        print(f"{method}: {len(detections)} objects, p50 {median:.2f} ms, p95 {late:.2f} ms")


if __name__ == "__main__":
    main()
