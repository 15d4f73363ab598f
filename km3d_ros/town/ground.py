"""Sky, horizon, and the ground with markings and noise."""

from __future__ import annotations

import cv2
import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.projection import Camera, blend, fill, fixed
from km3d_ros.town.scene import Array, Scene
from km3d_ros.town.shading import Shader

UP = (0.0, -1.0, 0.0)
SKY_SPAN = (np.pi, np.pi / 3)
"""Horizontal and vertical angle that a sky image covers, radians."""


def paint_sky(canvas: Array, scene: Scene, camera: Camera) -> None:
    """Paint the part of the sky panorama that the camera sees."""
    picture = textures.sky(scene.light.sky)
    rows, columns = picture.shape[:2]
    height, width = canvas.shape[:2]
    bottom = int(np.clip(max(camera.horizon(0), camera.horizon(width)) + 2, 2, height))
    across = 2 * np.arctan(width / 2 / camera.focal) / SKY_SPAN[0]
    up = np.arctan(bottom / camera.focal) / SKY_SPAN[1]
    wide, tall = max(int(across * columns), 2), max(int(min(up, 1.0) * rows), 2)
    start = int((scene.light.shift + camera.view.heading / SKY_SPAN[0]) * columns) % columns
    part = picture.take(range(start, start + wide), axis=1, mode="wrap")[rows - tall :]
    canvas[:bottom] = cv2.resize(part, (width, bottom), interpolation=cv2.INTER_LINEAR)


def paint_horizon(canvas: Array, scene: Scene, camera: Camera, shader: Shader) -> None:
    """Paint the strip of distant hills, trees and houses on the road's vanishing line."""
    color, clear = textures.horizon(scene.light.horizon)
    rows, columns = color.shape[:2]
    height, width = canvas.shape[:2]
    scale = camera.focal * np.pi / columns
    left = ((scene.light.shift + camera.view.heading / np.pi) % 0.5) * columns
    bottom = camera.horizon(0) + 3
    top = int(min(bottom, camera.horizon(width)) - rows * scale) - 2
    low = int(max(bottom, camera.horizon(width)) + 4)
    top, low = max(top, 0), min(low, height)
    if low <= top:
        return
    shear = camera.view.bank
    warp = np.array(
        [[scale, 0, -left * scale], [shear * scale, scale, bottom - rows * scale - top]]
    )
    warp[1, 2] -= shear * left * scale
    tone = shader.flat((0.8, 0.8, 0.8), UP, 40.0) / 255
    blend(canvas[top:low], color, clear, warp, np.minimum(tone * 1.1, 1.2))


def paint_ground(canvas: Array, scene: Scene, camera: Camera, shader: Shader) -> None:
    """Paint the open ground and the patches of the street."""
    height, width = canvas.shape[:2]
    edge = [[-2, camera.horizon(-2)], [width + 2, camera.horizon(width + 2)]]
    outline = np.array([*edge, [width + 2, height + 2], [-2, height + 2]])
    colors = np.array([scene.ground, *[patch.color for patch in scene.patches]])
    lit = shader.radiance(colors, np.tile(UP, (len(colors), 1)))
    shown = shader.display(lit, np.full(len(colors), 15.0)).tolist()
    fill(canvas, fixed(outline), shown[0])
    outlines = camera.project_outlines([patch.outline for patch in scene.patches])
    for pixels, color in zip(outlines, shown[1:], strict=True):
        if pixels is None:
            continue
        if len(pixels) <= 5:
            fill(canvas, pixels, color)
        else:
            cv2.fillPoly(canvas, [pixels], color, cv2.LINE_AA, 4)


def texture_ground(canvas: Array, scene: Scene, camera: Camera, mask: Array) -> None:
    """Multiply the image below the horizon by ground noise and by the half-size shadow mask."""
    height, width = canvas.shape[:2]
    lowest = max(camera.horizon(0), camera.horizon(width))
    top = int(np.clip(lowest + 1, 0, height - 2)) // 2
    shade = cv2.multiply(mask[top:], _grain(scene, camera, top), scale=1 / 140)
    shade = cv2.resize(shade, (width, height - 2 * top))
    below = canvas[2 * top :]
    canvas[2 * top :] = cv2.multiply(
        below, cv2.cvtColor(shade, cv2.COLOR_GRAY2BGR), scale=140 / 128 / 255
    )


def _grain(scene: Scene, camera: Camera, top: int) -> Array:
    """Ground noise at two scales, in half size from row `top` down. It fades at the horizon."""
    view = camera.view
    noise = textures.ground_noise(scene.ground_noise)
    c, s = np.cos(view.heading), np.sin(view.heading)
    # (world x, world z, 1) on the road -> camera point -> pixel -> pixel at half size
    plan = np.array([[c, -s, 0.0], [s, c, 0.0]])
    plan[:, 2] = -plan[:, :2] @ (view.x, view.z)
    to_camera = np.stack([plan[0], view.bank * plan[0] + view.slope * plan[1], plan[1]])
    to_camera[1, 2] += view.height
    pixel = np.array([[0.5, 0, 0], [0, 0.5, -top], [0, 0, 1.0]]) @ camera.intrinsics @ to_camera
    size = (camera.width // 2, camera.height // 2 - top)
    near, far = (
        cv2.warpPerspective(noise, pixel @ np.diag([cell, cell, 1.0]), size,
                            borderMode=cv2.BORDER_WRAP).astype(np.float32)
        for cell in (0.02, 0.11)
    )  # fmt: skip
    rows = np.arange(size[1], dtype=np.float32)[:, None]
    share = np.clip(rows / size[1] * 1.6 - 0.2, 0, 0.75)
    fade = np.clip(rows / 7, 0.2, 1)
    mixed = (near * share + far * (0.9 - share) - 128 * 0.9) * fade + 128
    return mixed.clip(0, 255).astype(np.uint8)
