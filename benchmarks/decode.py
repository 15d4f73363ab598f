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
from torch import Tensor

from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.decode import decode, find_peaks, locate, pack
from km3d_ros.inference.detections import Detections, in_camera, unpack
from km3d_ros.network.spec import STRIDE, ModelSpec

SPEC = ModelSpec("res_18")
CAMERA = CameraModel.from_intrinsics([[721, 0, 620], [0, 721, 187], [0, 0, 1]], 1242, 375)
VIEW = virtual_camera(CAMERA, SPEC.input_size)


def head_maps() -> dict[str, Tensor]:
    """Pseudo-random maps, a car at 20 m at every cell."""
    random = torch.Generator().manual_seed(0)

    def noise(channels: int) -> Tensor:
        return torch.randn(1, channels, 96, 320, generator=random)

    size = torch.tensor([3.9, 1.6, 1.5])
    points = keypoints(Boxes3D(torch.tensor([0, 0, 20.0]), size, torch.tensor(-1.2)))
    pixels = points[:, :2] / points[:, 2:] * VIEW.intrinsics[0, 0] / STRIDE
    return {
        "hm": 2 * noise(3) - 4,
        "hps": pixels.float().reshape(1, 18, 1, 1) + 0.3 * noise(18),
        "dim": size.flip(0).reshape(1, 3, 1, 1) + 0.1 * noise(3),
        "rot": noise(8),
        "prob": noise(1),
    }


def detect(maps: dict[str, Tensor]) -> Detections:
    """What a published network's outputs become, with positions of both methods."""
    peaks = find_peaks(maps["hm"], 100)
    heads = {
        name: maps[name][0, :, peaks.y[0], peaks.x[0]].T[None]
        for name in ("hps", "dim", "rot", "prob")
    }
    pinholes = Pinholes(torch.from_numpy(VIEW.projection[None, None]).float())
    _, table = (
        pack(found)[0] for found in locate(decode(peaks, heads, SPEC), pinholes, SPEC.noise)
    )
    rows = table.numpy()
    return in_camera(unpack(rows[np.isfinite(rows).all(axis=1)]), VIEW)


def main() -> None:
    """Time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=500, help="frames (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    maps = head_maps()
    seconds = []
    with torch.inference_mode():
        for _ in range(args.repeat):
            start = time.perf_counter()
            detections = detect(maps)
            seconds.append(time.perf_counter() - start)
    median, late = np.percentile(seconds, (50, 95)) * 1e3
    print(f"{len(detections)} objects, p50 {median:.2f} ms, p95 {late:.2f} ms")


if __name__ == "__main__":
    main()
