"""Shadows of blocks, trees and actors on the ground."""

from __future__ import annotations

import cv2
import numpy as np

from km3d_ros.town.projection import Camera
from km3d_ros.town.scene import Array, Scene
from km3d_ros.town.shading import Shader

_SIGNS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
_TURN = np.arange(10) * 2 * np.pi / 10
_CLUMPS = np.array(
    [[0.0, 0.38, 0.11], [1.1, 0.44, 0.07], [1.9, 0.36, 0.12], [3.0, 0.46, 0.08], [3.9, 0.37, 0.1],
     [5.2, 0.42, 0.1]]
)  # fmt: skip
"""Clumps of leaves: angle in radians, distance and radius in crown widths."""
_RING = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def shadow_mask(scene: Scene, camera: Camera, shader: Shader) -> tuple[Array, Array]:
    """Brightness of the ground with all shadows, and with those of blocks and trees only.

    Both are (height / 2, width / 2) uint8. 255 is fully lit.
    """
    mask = np.full((camera.height // 2, camera.width // 2), 255, np.uint8)
    sun = scene.light.sun
    throw = -np.array([sun[0], sun[2]]) / max(sun[1], 0.15)
    shade = int(255 * shader.shadow)
    _darken(mask, _of_structures(scene, throw), camera, shade)
    static = mask.copy()
    actors = scene.actors
    base = _rectangles([(a.x, a.z, a.size[0] * 0.47, a.size[1] * 0.46, a.yaw) for a in actors])
    lengths = np.array([a.size[2] * 0.8 for a in actors])
    _darken(mask, _swept(base, throw, lengths), camera, shade)
    low = [k for k, a in enumerate(actors) if a.class_name and a.size[0] > 2.5]
    _darken(mask, list(base[low]), camera, int(shade * 0.42))
    return cv2.blur(mask, (3, 3)), static


def _of_structures(scene: Scene, throw: Array) -> list[Array]:
    blocks, trees = scene.blocks, scene.trees
    base = _rectangles([(b.x, b.z, b.half[1], b.half[0], b.heading - np.pi / 2) for b in blocks])
    outlines = _swept(base, throw, np.array([b.height for b in blocks]))
    eye = np.array([scene.view.x, scene.view.z])
    for tree in trees:
        center = np.array([tree.x, tree.z]) + throw * (tree.base + tree.top) / 2
        outlines.append(center + (0.30 if tree.trunk else 0.38) * tree.width * _RING)
        if tree.trunk and abs(center - eye).max() < 45:
            # Clumps of leaves around the core of the crown make the shade dappled.
            turn = tree.x + _CLUMPS[:, 0]
            spots = np.stack([np.cos(turn), np.sin(turn)], 1) * _CLUMPS[:, 1:2] * tree.width
            outlines += [center + spot + radius * tree.width * _RING
                         for spot, radius in zip(spots, _CLUMPS[:, 2], strict=True)]  # fmt: skip
    trunks = [t for t in trees if t.trunk]
    base = _rectangles([(t.x, t.z, t.trunk, t.trunk, 0.0) for t in trunks])
    return outlines + _swept(base, throw, np.array([t.base for t in trunks]))


def _rectangles(boxes: list[tuple[float, ...]]) -> Array:
    """(N, 4, 2) world corners of boxes (x, z, half length, half width, yaw)."""
    x, z, along, across, yaw = np.array(boxes).reshape(-1, 5).T[:, :, None]
    c, s = np.cos(yaw), np.sin(yaw)
    ahead, left = _SIGNS[:, 0] * along, _SIGNS[:, 1] * across
    return np.stack([x + ahead * c + left * s, z - ahead * s + left * c], axis=-1)


def _swept(base: Array, throw: Array, lengths: Array) -> list[Array]:
    """Hull of each rectangle (N, 4, 2) and its copy moved by `lengths` (N,) times `throw`."""
    moved = base + (lengths[:, None] * throw)[:, None]
    both = np.concatenate([base, moved], axis=1).astype(np.float32)
    return [cv2.convexHull(points)[:, 0] for points in both]


def _darken(mask: Array, outlines: list[Array], camera: Camera, shade: int) -> None:
    for pixels in camera.project_outlines(outlines):
        if pixels is not None:
            cv2.fillConvexPoly(mask, pixels >> 1, shade, cv2.LINE_8, 4)
