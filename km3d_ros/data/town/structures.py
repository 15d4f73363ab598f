"""Buildings, walls and hedges with their textures, and trees as sprites."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from km3d_ros.data.town import textures
from km3d_ros.data.town.camera import Camera, clip_polygon
from km3d_ros.data.town.ground import fill
from km3d_ros.data.town.scene import Block, Tree
from km3d_ros.data.town.shading import Shader

Array = np.ndarray
SHOP_HEIGHT = 80 * textures.METRES_PER_TEXEL


def wall_texture(kind: str, index: int) -> list[Array] | None:
    """The mip chain of a kind of wall; None for a plain one."""
    banks: dict[str, tuple[Callable[[int], list[Array]], int]] = {
        "facade": (textures.facade, textures.FACADES),
        "shop": (textures.shop, textures.SHOPS),
        "foliage": (textures.foliage_wall, textures.FOLIAGE_WALLS),
    }
    if kind not in banks:
        return None
    bank, size = banks[kind]
    return bank(index % size)


def block_corners(block: Block, camera: Camera) -> Array:
    """(4, 3): the foot of a block in the camera frame, counter-clockwise from above."""
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * block.half
    c, s = np.cos(block.heading), np.sin(block.heading)
    x = block.x + signs[:, 0] * c + signs[:, 1] * s
    z = block.z - signs[:, 0] * s + signs[:, 1] * c
    return camera.on_ground(np.stack([x, z], axis=1))


def paint_block(canvas: Array, block: Block, camera: Camera, shader: Shader) -> list[Array]:
    """Paint what is seen of a block; returns the painted polygons (n, 2) in pixels."""
    foot = block_corners(block, camera)
    lift = np.array([0.0, -block.height, 0.0])
    middle = foot.mean(0)
    painted = []
    if block.roof:
        painted += _gable(canvas, foot + lift, block, camera, shader)
    elif block.height < camera.view.height + 0.5:
        painted += _flat(canvas, foot + lift, block.roof_color, (0, -1, 0), camera, shader)
    for k in range(4):
        a, b = foot[k], foot[(k + 1) % 4]
        normal = np.cross(b - a, (0, -1.0, 0))
        normal /= np.linalg.norm(normal)
        if normal @ (a - middle) < 0:
            normal = -normal
        if normal @ a < 0:
            painted += _wall(canvas, a, b, normal, block, camera, shader)
    return painted


def _flat(canvas, points, color, normal, camera: Camera, shader: Shader) -> list[Array]:
    part = clip_polygon(points)
    if len(part) < 3:
        return []
    pixels = camera.project(part)
    fill(canvas, pixels, shader.flat(color, normal, float(part[:, 2].mean())).tolist())
    return [pixels]


def _gable(canvas, eaves, block: Block, camera: Camera, shader: Shader) -> list[Array]:
    """A ridge along the street over corners 0..3 (across +, +, -, -)."""
    rise = np.array([0.0, -block.roof, 0.0])
    ridge = [(eaves[0] + eaves[3]) / 2 + rise, (eaves[1] + eaves[2]) / 2 + rise]
    painted = []
    across = (eaves[0] - eaves[3]) / np.linalg.norm(eaves[0] - eaves[3])
    for outer, sign in (((eaves[0], eaves[1]), 1), ((eaves[3], eaves[2]), -1)):
        slope = np.array([outer[0], outer[1], ridge[1], ridge[0]])
        normal = sign * across * block.roof + np.array([0, -1.0, 0]) * block.half[0]
        normal /= np.linalg.norm(normal)
        if normal @ slope[0] < 0:
            painted += _flat(canvas, slope, block.roof_color, tuple(normal), camera, shader)
    for k, j, top in ((0, 3, ridge[0]), (1, 2, ridge[1])):
        triangle = np.array([eaves[k], eaves[j], top])
        outward = eaves[k] - eaves[1 if k == 0 else 0]
        outward /= np.linalg.norm(outward)
        if outward @ eaves[k] < 0:
            painted += _flat(canvas, triangle, block.tint * 0.75, tuple(outward), camera, shader)
    return painted


def _wall(canvas, a, b, normal, block: Block, camera: Camera, shader: Shader) -> list[Array]:
    """One upright wall from foot a to foot b."""
    color = shader.flat(block.tint, tuple(normal), float(np.hypot(*((a + b) / 2)[[0, 2]])))
    parts = [(0.0, block.height, block.kind)]
    if block.kind == "shop":
        low = min(SHOP_HEIGHT, block.height)
        parts = [(0.0, low, "shop"), (low, block.height, "facade")]
    painted = []
    for low, high, kind in parts:
        chain = wall_texture(kind, block.texture)
        lift = np.array([[0, -low, 0], [0, -low, 0], [0, -high, 0], [0, -high, 0]])
        quad = np.array([a, b, b, a]) + lift
        part = clip_polygon(quad)
        if len(part) < 3:
            continue
        pixels = camera.project(part)
        painted.append(pixels)
        if chain is None:
            fill(canvas, pixels, color.tolist())
        else:
            texel = (
                textures.LEAF_METRES_PER_TEXEL if kind == "foliage" else textures.METRES_PER_TEXEL
            )
            _paint_texture(canvas, chain, texel, quad, part, pixels, color, camera)
    return painted


def _paint_texture(canvas, chain, texel, quad, part, pixels, color, camera: Camera) -> None:
    """Warp a tiled texture onto the quad (foot a, foot b, top b, top a)."""
    low = np.maximum(np.floor(pixels.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(pixels.max(0)).astype(int) + 1, canvas.shape[1::-1])
    if (high - low < 1).any():
        return
    near, far = part[:, 2].min(), part[:, 2].max()
    texels = np.sqrt(max(near, 2.0) * far) / camera.focal / texel
    level = int(np.clip(np.log2(max(texels, 1e-3)) + 0.3, 0, len(chain) - 1))
    cell = texel * 2**level
    along = (quad[1] - quad[0]) / np.linalg.norm(quad[1] - quad[0]) * cell
    plane = np.stack([along, np.array([0, cell, 0]), quad[3]], axis=1)
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    warp = shift @ camera.intrinsics @ plane
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    picture = cv2.warpPerspective(chain[level], warp, size, borderMode=cv2.BORDER_WRAP)
    picture = cv2.multiply(picture, (*(color / 225), 0))
    mask = np.zeros(size[::-1], np.uint8)
    fill(mask, pixels - low, 255)
    area = canvas[low[1] : high[1], low[0] : high[0]]
    cv2.copyTo(picture, mask, area)


def paint_tree(canvas: Array, tree: Tree, camera: Camera, shader: Shader) -> list[Array]:
    """Paint a trunk and a crown; returns what they hide as polygons (n, 2) in pixels."""
    foot = camera.on_ground(np.array([[tree.x, tree.z]]))[0]
    if foot[2] < 1.5:
        return []
    distance = float(np.hypot(foot[0], foot[2]))
    scale = camera.focal / foot[2]
    base = camera.project(foot)
    painted = []
    if tree.trunk:
        painted = _trunk(canvas, tree, base, scale, shader, distance)
    tone = shader.radiance(np.ones((1, 3)), np.array([[0.0, -0.8, -0.5]]))
    gain = shader.display(tone, np.array([distance]))[0] / 255 * 1.1
    left, right = base[0] - tree.width / 2 * scale, base[0] + tree.width / 2 * scale
    top, bottom = base[1] - tree.top * scale, base[1] - tree.base * scale
    box = (left, top, right, min(bottom, base[1] + 0.02 * scale) if not tree.trunk else bottom)
    _paint_sprite(canvas, textures.crown(tree.texture), box, tree.flip, gain)
    turn = np.arange(10) * 2 * np.pi / 10
    middle = np.array([left + right, top + bottom]) / 2
    reach = 0.33 * np.array([right - left, bottom - top])
    painted.append(middle + reach * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    return painted


def _trunk(canvas, tree: Tree, base, scale, shader: Shader, distance: float) -> list[Array]:
    half, high = tree.trunk * scale, (tree.base * 0.6 + tree.top * 0.4) * scale
    bark = np.array([0.06, 0.085, 0.10])
    painted = []
    for a, b, normal in ((-1.0, -0.1, (-0.8, 0, -0.6)), (-0.1, 1.0, (0.8, 0, -0.6))):
        outline = base + np.array(
            [[a * half, 0], [b * half, 0], [b * half * 0.6, -high], [a * half * 0.6, -high]]
        )
        fill(canvas, outline, shader.flat(bark, normal, distance).tolist())
        painted.append(outline)
    return painted


def _paint_sprite(canvas, chain, box, flip: bool, gain: Array) -> None:
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
    size = (right - left, bottom - top)
    part = cv2.warpAffine(color, warp, size)
    gap = cv2.warpAffine(clear, warp, size, borderValue=(255, 255, 255))
    part = cv2.multiply(part, (*gain, 0))
    area = canvas[top:bottom, left:right]
    canvas[top:bottom, left:right] = cv2.add(cv2.multiply(area, gap, scale=1 / 255), part)
