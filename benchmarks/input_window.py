"""Draws the part of an image that the network sees: `python benchmarks/input_window.py`.

Writes docs/camera-*.jpg: Town through cameras of several aspect ratios. The part that is cut off
is darkened. The line is the row of the principal point.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.town import render, sample_scene

DOCS = Path(__file__).parents[1] / "docs"
INPUT = (384, 1280)
SHOWN = 900
"""Width of the drawings in pixels."""
CAMERAS = {"kitti": (1242, 375, 0.46), "16x9": (1280, 720, 0.58), "4x3": (1024, 768, 0.4)}
"""Width, height, and the row of the principal point in image heights."""
LINE = (0, 220, 255)


def draw(width: int, height: int, row: float) -> np.ndarray:
    """The picture of such a camera, with the window that becomes the input."""
    scene = sample_scene(3, 1)
    shift = (0.0, (row - 0.5) * height / width)
    frame = render(replace(scene, view=replace(scene.view, shift=shift)), width, height, 0.6)
    camera = CameraModel.from_projection(frame.projection, width, height)
    scale, top = virtual_camera(camera, INPUT).affine[1, 1:]
    rows = np.clip((np.array([0, INPUT[0]]) - top) / scale, 0, height).round().astype(int)
    shown = frame.image // 3
    shown[slice(*rows)] = frame.image[slice(*rows)]
    cv2.line(shown, (0, round(camera.cy)), (width, round(camera.cy)), LINE, 2)
    cv2.rectangle(shown, (1, int(rows[0])), (width - 2, int(rows[1]) - 1), (255, 255, 255), 3)
    size = (SHOWN, round(height * SHOWN / width))
    return cv2.resize(shown, size, interpolation=cv2.INTER_AREA)


def main() -> None:
    """Write a picture per camera."""
    for name, (width, height, row) in CAMERAS.items():
        path = DOCS / f"camera-{name}.jpg"
        cv2.imwrite(str(path), draw(width, height, row), [cv2.IMWRITE_JPEG_QUALITY, 80])
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
