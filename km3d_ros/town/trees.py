"""Trees and bushes as sprites that face the camera."""

from __future__ import annotations

import cv2
import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.projection import Camera, blend, fill, fixed
from km3d_ros.town.scene import Array, Tree
from km3d_ros.town.shading import Shader

NEAREST = 1.5
"""Least z of a painted tree, metres."""
_BARK = (0.06, 0.085, 0.10)


class Grove:
    """All trees of a frame. Positions and colours are computed in one batch."""

    def __init__(self, trees: list[Tree], camera: Camera, shader: Shader) -> None:
        self.trees = trees
        plan = np.array([(t.x, t.z) for t in trees]).reshape(-1, 2)
        self.feet = camera.on_ground(plan)
        self.scale = camera.focal / np.maximum(self.feet[:, 2], NEAREST)
        self.base = self.feet[:, :2] * self.scale[:, None] + camera.center
        # Normals of the crown and of the left and right half of the trunk.
        normals = np.array([[0.0, -0.8, -0.5], [-0.8, 0.0, -0.6], [0.8, 0.0, -0.6]])
        lit = shader.radiance(np.array([[1.0] * 3, _BARK, _BARK]), normals)
        distance = np.linalg.norm(self.feet, axis=1)
        self.colors = shader.display(np.repeat(lit[None], len(trees), 0), distance[:, None])

    def paint(self, canvas: Array, index: int) -> list[Array]:
        """Paint one tree. Returns the polygons that it covers, in `fixed` pixels."""
        if self.feet[index, 2] < NEAREST:
            return []
        tree, base, scale = self.trees[index], self.base[index], self.scale[index]
        hidden = self._trunk(canvas, index) if tree.trunk else []
        half, top = tree.width / 2 * scale, base[1] - tree.top * scale
        bottom = base[1] - (tree.base if tree.trunk else max(tree.base, -0.02)) * scale
        box = (base[0] - half, top, base[0] + half, bottom)
        gain = self.colors[index, 0] / 255 * 1.1
        _paint_sprite(canvas, textures.crown(tree.texture), box, tree.flip, gain)
        reach = np.array([-half if tree.flip else half, (bottom - top) / 2])
        outline = fixed(
            (base[0], (top + bottom) / 2) + reach * textures.crown_outline(tree.texture)
        )
        return [*hidden, cv2.convexHull(outline)[:, 0]]

    def _trunk(self, canvas: Array, index: int) -> list[Array]:
        tree, base, scale = self.trees[index], self.base[index], self.scale[index]
        half, high = tree.trunk * scale, (tree.base * 0.6 + tree.top * 0.4) * scale
        outlines = []
        for (a, b), color in zip(((-1.0, -0.1), (-0.1, 1.0)), self.colors[index, 1:], strict=True):
            span = np.array(
                [[a * half, 0], [b * half, 0], [b * half * 0.6, -high], [a * half * 0.6, -high]]
            )
            outlines.append(fixed(base + span))
            fill(canvas, outlines[-1], color.tolist())
        return outlines


def _paint_sprite(canvas: Array, chain, box, flip: bool, gain: Array) -> None:
    """Blend a premultiplied sprite into the box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    right, bottom = min(int(np.ceil(x1)), canvas.shape[1]), min(int(np.ceil(y1)), canvas.shape[0])
    if right <= left or bottom <= top or x1 - x0 < 2:
        return
    ratio = chain[0][0].shape[1] / max(x1 - x0, y1 - y0)
    color, clear = chain[int(np.clip(np.log2(max(ratio, 1e-3)), 0, len(chain) - 1))]
    side = color.shape[0]
    sx, sy = (x1 - x0) / side, (y1 - y0) / side
    warp = np.array([[sx, 0, x0 - left], [0, sy, y0 - top]])
    if flip:
        warp[0] = (-sx, 0, x1 - left)
    blend(canvas[top:bottom, left:right], color, clear, warp, gain)
