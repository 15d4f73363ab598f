"""Town scenes through cameras that do not look level, and through lenses."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import product

import cv2
import numpy as np

from km3d_ros.data.class_names import DONT_CARE
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.camera import CameraModel, with_depth
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.town.labels import box_in_image
from km3d_ros.town.projection import NEAR, clip_hull
from km3d_ros.town.render import TownFrame, render
from km3d_ros.town.scene import Scene

SHARPNESS = 1.2
"""Pixels of the frame for each pixel of a photograph that is made of it."""

STEEPEST = 2.5
"""Largest slope x/z and y/z of the rays that a photograph shows. A fisheye is black beyond it."""

LENSES = {
    "plumb_bob": ((0.0,) * 5, (-0.28, 0.09, 0.001, -0.0005, -0.01)),
    "rational_polynomial": ((0.0,) * 8, (0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02)),
    "equidistant": ((0.33, 0.13, 0.05, 0.02), (-0.02, 0.004, -0.003, 0.0006)),
}
"""Coefficients of the weakest and the strongest lens of each model. The weakest ones bend nearly
nothing; the strongest ones move the corners of an image by 11 to 13 % of its width."""

_OUTSIDE = -2.0
"""Pixel coordinate outside every frame, for which `cv2.remap` returns black."""

_HULL = np.array(list(product(np.linspace(-0.5, 0.5, 5), repeat=3)))
"""Points of a box, in its sides; between its corners, because a lens bends the edges."""


def take(scene: Scene, *cameras: CameraModel) -> list[TownFrame]:
    """Render a scene once and photograph it with cameras at the place of the scene's own.

    The cameras have no translation. The scene's focal length and principal point do not count.
    """
    ends = [(np.nanmin(seen, (0, 1)), np.nanmax(seen, (0, 1))) for seen in map(_rays, cameras)]
    ends = np.clip(ends, -STEEPEST, STEEPEST)
    (left, top), (right, bottom) = ends.min(0)[0].tolist(), ends.max(0)[1].tolist()
    focal = SHARPNESS * max(max(camera.fx, camera.fy) for camera in cameras)
    width, height = math.ceil((right - left) * focal) + 2, math.ceil((bottom - top) * focal) + 2
    # The principal point, from the middle of the frame, in its widths.
    shift_x, shift_y = 1 - left * focal - (width - 1) / 2, 1 - top * focal - (height - 1) / 2
    view = replace(scene.view, shift=(shift_x / width, shift_y / width))
    frame = render(replace(scene, view=view), width, height, focal / width)
    return [
        TownFrame(photograph(frame, camera), camera, _labels(frame, camera), scene)
        for camera in cameras
    ]


def sample_camera(
    seed: int, index: int, width: int, height: int, focal: float, tilt: float, bent: bool
) -> CameraModel:
    """Sample the camera of a photograph of scene `index` of a seed.

    width, height: of the photograph in pixels.
    focal: in image widths.
    tilt: largest pitch in radians, up or down; the largest roll is half of it.
    bent: whether the camera has a lens with distortion; else it is a pinhole.
    """
    rng = np.random.default_rng((seed, index, 1))
    pitch, roll = rng.uniform(-tilt, tilt), rng.uniform(-tilt, tilt) / 2
    center = rng.uniform((-0.03, -0.025), (0.03, 0.025)) * width
    center += ((width - 1) / 2, (height - 1) / 2)
    k = [[focal * width, 0, center[0]], [0, focal * width, center[1]], [0, 0, 1]]
    model = list(LENSES)[rng.integers(len(LENSES))]
    weakest, strongest = np.array(LENSES[model])
    lens = (weakest + rng.uniform() * (strongest - weakest), model) if bent else ()
    camera = CameraModel.from_intrinsics(k, width, height, *lens)
    return replace(camera, level=level_from_angles(pitch, roll))


def photograph(frame: TownFrame, camera: CameraModel) -> np.ndarray:
    """Resample a frame to the image (height, width, 3) of another camera at the same position.

    Each pixel of `camera` takes the colour of the frame along its ray. Pixels whose ray misses the
    frame are black.
    """
    pixels = np.nan_to_num(frame.camera.project(with_depth(_rays(camera))), nan=_OUTSIDE)
    x, y = np.moveaxis(pixels.astype(np.float32), -1, 0)
    return cv2.remap(frame.image, x, y, cv2.INTER_LINEAR)


@lru_cache(maxsize=20)
def _rays(camera: CameraModel) -> np.ndarray:
    """(height, width, 2) float64: the ray x/z, y/z of the level frame through each pixel.

    NaN for pixels without a ray, and for those that look back.
    """
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    x, y, z = np.moveaxis(with_depth(camera.rays(pixels)) @ camera.level.T, -1, 0)
    z = np.where(z > 0, z, math.nan)
    return np.stack((x / z, y / z), axis=-1)


def _labels(frame: TownFrame, camera: CameraModel) -> list[KittiObject]:
    """The labels of a frame with 2D boxes in the image of another camera."""
    labels = []
    for item in frame.objects:
        points = _hull_of(item) if item.has_box3d else _points_in(item.box2d, frame)
        points = clip_hull(points, NEAR) @ camera.level
        pixels = camera.project(points[camera.sees(points)])
        found = box_in_image(pixels, camera.width, camera.height) if len(pixels) else None
        if found and item.has_box3d:
            labels.append(replace(item, box2d=found[0], truncation=1 - found[1]))
        elif found:
            labels.append(KittiObject.of_box2d(DONT_CARE, found[0]))
    return labels


def _hull_of(item: KittiObject) -> np.ndarray:
    """Points (n, 3) of the level frame in the sides of a box."""
    length, up, width = (_HULL * np.array(item.size)[[0, 2, 1]]).T
    c, s = math.cos(item.yaw), math.sin(item.yaw)
    return np.stack((length * c + width * s, up, width * c - length * s), -1) + item.center


def _points_in(box: tuple[float, ...], frame: TownFrame) -> np.ndarray:
    """Points (n, 3) at z = 1 of the level frame in a 2D box of the frame."""
    x, y = np.meshgrid(np.linspace(box[0], box[2], 5), np.linspace(box[1], box[3], 5))
    return with_depth(frame.camera.rays(np.stack((x, y), -1).reshape(-1, 2)))
