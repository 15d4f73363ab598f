"""Sky, far horizon, and the ground with its markings, grain and shadows."""

from __future__ import annotations

import cv2
import numpy as np

from km3d_ros.data.town import textures
from km3d_ros.data.town.camera import Camera, clip_polygon
from km3d_ros.data.town.scene import Scene
from km3d_ros.data.town.shading import Shader

Array = np.ndarray
UP = (0.0, -1.0, 0.0)
SKY_SPAN = (np.pi, np.pi / 3)
"""Angles across and up that a sky picture covers."""


def fixed(pixels: Array) -> Array:
    """Pixels to OpenCV's 4-bit fixed point."""
    return np.rint(np.clip(pixels, -20000, 20000) * 16).astype(np.int32)


def fill(canvas: Array, pixels: Array, color) -> None:
    """An antialiased convex polygon (n, 2)."""
    cv2.fillConvexPoly(canvas, fixed(pixels), color, cv2.LINE_AA, 4)


def paint_sky(canvas: Array, scene: Scene, camera: Camera) -> None:
    """The part of the sky panorama that the camera sees."""
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
    """The strip of hills, trees and houses far away, on the road's vanishing line."""
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
    size = (width, low - top)
    part = cv2.warpAffine(color, warp, size)
    gap = cv2.warpAffine(clear, warp, size, borderValue=(255, 255, 255))
    tone = shader.flat((0.8, 0.8, 0.8), UP, 40.0) / 255
    part = cv2.multiply(part, (*np.minimum(tone * 1.1, 1.2), 0))
    canvas[top:low] = cv2.add(cv2.multiply(canvas[top:low], gap, scale=1 / 255), part)


def paint_ground(canvas: Array, scene: Scene, camera: Camera, shader: Shader) -> None:
    """The open ground, and the street's patches upon it."""
    height, width = canvas.shape[:2]
    edge = [[-2, camera.horizon(-2)], [width + 2, camera.horizon(width + 2)]]
    outline = np.array([*edge, [width + 2, height + 2], [-2, height + 2]])
    colors = np.array([scene.ground, *[patch.color for patch in scene.patches]])
    lit = shader.radiance(colors, np.tile(UP, (len(colors), 1)))
    shown = shader.display(lit, np.full(len(colors), 15.0)).tolist()
    fill(canvas, outline, shown[0])
    for patch, color in zip(scene.patches, shown[1:], strict=True):
        points = clip_polygon(camera.on_ground(patch.outline), 0.5)
        if len(points) < 3:
            continue
        pixels = camera.project(points)
        low, high = pixels.min(0), pixels.max(0)
        if high[0] < 0 or low[0] > width or low[1] > height or high[1] - low[1] < 0.3:
            continue
        if len(points) <= 5:
            fill(canvas, pixels, color)
        else:
            cv2.fillPoly(canvas, [fixed(pixels)], color, cv2.LINE_AA, 4)


def shadow_outlines(scene: Scene) -> tuple[list[Array], list[Array], list[Array]]:
    """World outlines of the shadows of buildings and trees, of actors, and of their undersides."""
    sun = scene.light.sun
    throw = -np.array([sun[0], sun[2]]) / max(sun[1], 0.15)
    still = [
        _hull(_rectangle(b.x, b.z, b.half[1], b.half[0], b.heading - np.pi / 2), throw * b.height)
        for b in scene.blocks
    ]
    turn = np.arange(10) * 2 * np.pi / 10
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for tree in scene.trees:
        middle = np.array([tree.x, tree.z]) + throw * (tree.base + tree.top) / 2
        still.append(middle + 0.38 * tree.width * ring)
        if tree.trunk:
            still.append(_hull(np.array([tree.x, tree.z]) + tree.trunk * ring[::3],
                               throw * tree.base))  # fmt: skip
    moving, under = [], []
    for actor in scene.actors:
        length, width, height = actor.size
        base = _rectangle(actor.x, actor.z, length * 0.47, width * 0.46, actor.yaw)
        moving.append(_hull(base, throw * height * 0.8))
        if actor.class_name and length > 2.5:
            under.append(base)
    return still, moving, under


def _rectangle(x, z, along, across, yaw) -> Array:
    c, s = np.cos(yaw), np.sin(yaw)
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * (along, across)
    return np.array([x, z]) + signs @ np.array([[c, -s], [s, c]])


def _hull(base: Array, shift: Array) -> Array:
    both = np.concatenate([base, base + shift]).astype(np.float32)
    return cv2.convexHull(both)[:, 0].astype(float)


def shadow_mask(scene: Scene, camera: Camera, shader: Shader) -> tuple[Array, Array]:
    """Brightness of the ground at half size, and the same without the actors' own shadows."""
    mask = np.full((camera.height // 2, camera.width // 2), 255, np.uint8)
    still, moving, under = shadow_outlines(scene)
    shade = int(255 * shader.shadow)
    for outline in still:
        _fill_half(mask, outline, camera, shade)
    alone = mask.copy()
    for outline in moving:
        _fill_half(mask, outline, camera, shade)
    for outline in under:
        _fill_half(mask, outline, camera, int(shade * 0.42))
    return cv2.blur(mask, (3, 3)), alone


def _fill_half(mask: Array, outline: Array, camera: Camera, shade: int) -> None:
    points = clip_polygon(camera.on_ground(outline), 0.5)
    if len(points) >= 3:
        pixels = camera.project(points) / 2
        low, high = pixels.min(0), pixels.max(0)
        if high[0] > 0 and low[0] < mask.shape[1] and low[1] < mask.shape[0]:
            cv2.fillConvexPoly(mask, fixed(pixels), shade, cv2.LINE_8, 4)


def texture_ground(canvas: Array, scene: Scene, camera: Camera, mask: Array) -> None:
    """Grain and shadows multiply what is below the horizon."""
    height, width = canvas.shape[:2]
    top = int(np.clip(max(camera.horizon(0), camera.horizon(width)) + 1, 0, height - 2)) // 2 * 2
    shade = cv2.resize(mask[top // 2 :], (width, height - top))
    grain = _grain(scene, camera, top)
    shade = cv2.multiply(shade, grain, scale=1 / 140)
    bright = cv2.cvtColor(shade, cv2.COLOR_GRAY2BGR)
    canvas[top:] = cv2.multiply(canvas[top:], bright, scale=140 / 128 / 255)


def _grain(scene: Scene, camera: Camera, top: int) -> Array:
    """Ground noise at two scales as seen from `top` down, fading towards the horizon."""
    view = camera.view
    noise = textures.ground_noise(scene.ground_noise)
    c, s = np.cos(view.heading), np.sin(view.heading)
    # (world x, world z, 1) on the road -> camera point -> pixel -> pixel below `top`
    plan = np.array([[c, -s, 0.0], [s, c, 0.0]])
    plan[:, 2] = -plan[:, :2] @ (view.x, view.z)
    to_camera = np.stack([plan[0], (view.bank * plan[0] + view.slope * plan[1]), plan[1]])
    to_camera[1, 2] += view.height
    pixel = np.array([[1, 0, 0], [0, 1, -top], [0, 0, 1.0]]) @ camera.intrinsics @ to_camera
    size = (camera.width, camera.height - top)
    layers = []
    for cell in (0.02, 0.11):
        warp = pixel @ np.diag([cell, cell, 1.0])
        layers.append(cv2.warpPerspective(noise, warp, size, borderMode=cv2.BORDER_WRAP))
    rows = np.arange(size[1], dtype=np.float32)[:, None]
    near = np.clip(rows / size[1] * 1.6 - 0.2, 0, 0.75)
    mixed = layers[0] * near + layers[1] * (0.9 - near)
    fade = np.clip(rows / 14, 0.2, 1)
    return ((mixed - 128 * 0.9) * fade + 128).clip(0, 255).astype(np.uint8)
