"""Buildings, walls and hedges as textured surfaces, computed in one batch per frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.projection import NEAR, Camera, clip_polygon, fill, fixed
from km3d_ros.town.scene import Array, Block
from km3d_ros.town.shading import Shader

SHOP_HEIGHT = 80 * textures.METRES_PER_TEXEL
_BANKS: dict[str, tuple[Callable[[int], list[Array]], int, float]] = {
    "facade": (textures.facade, textures.FACADES, textures.METRES_PER_TEXEL),
    "shop": (textures.shop, textures.SHOPS, textures.METRES_PER_TEXEL),
    "garage": (textures.garage, textures.GARAGES, textures.METRES_PER_TEXEL),
    "foliage": (textures.foliage_wall, textures.FOLIAGE_WALLS, textures.LEAF_METRES_PER_TEXEL),
}
"""Textures, their number and metres per texel, for each kind of wall. Other kinds are plain."""
_PARTS = ("wall",) * 4 + ("ground floor",) * 4 + ("slope",) * 2 + ("gable",) * 2 + ("top",)


@dataclass(frozen=True)
class Surface:
    """One visible face of a block."""

    quad: Array  # (4, 3) camera points. Order for walls: foot, foot, top, top.
    pixels: Array  # (n, 2) as of `projection.fixed`, of the part in front of the camera
    depth: tuple[float, float]  # least and greatest z of that part, metres
    color: Array  # (3,) display colour
    kind: str
    texture: int


def visible_surfaces(blocks: list[Block], camera: Camera, shader: Shader) -> list[list[Surface]]:
    """Visible surfaces of each block, roofs first."""
    if not blocks:
        return []
    quads, normals, exists = _geometry(blocks, camera)
    middle = quads.mean(2)
    color = np.array([_colors(block) for block in blocks])
    flat = (-1, 3)
    lit = shader.radiance(color.reshape(flat), normals.reshape(flat))
    shown = shader.display(lit, np.linalg.norm(middle, axis=-1).ravel()).reshape(color.shape)
    depth = quads[..., 2]
    seen = exists & ((normals * middle).sum(-1) < 0) & (depth.max(-1) > NEAR)
    pixels = camera.project_ahead(quads)
    low, high = pixels.min(2), pixels.max(2)
    on_screen = (high > 0).all(-1) & (low[..., 0] < camera.width) & (low[..., 1] < camera.height)
    whole = depth.min(-1) > NEAR
    rounded = fixed(pixels)
    found: list[list[Surface]] = [[] for _ in blocks]
    # The roof rows come after the wall rows. Inserting at 0 paints them first.
    for k, row in np.argwhere(seen & (on_screen | ~whole)).tolist():
        quad, outline = quads[k, row], rounded[k, row]
        near, far = float(depth[k, row].min()), float(depth[k, row].max())
        if not whole[k, row]:
            outline, near = fixed(camera.project(clip_polygon(quad))), NEAR
        kind = _kind(blocks[k], _PARTS[row])
        surface = Surface(quad, outline, (near, far), shown[k, row], kind, blocks[k].texture)
        found[k].insert(0, surface)
    return found


def _kind(block: Block, part: str) -> str:
    if part == "ground floor":
        return "shop"
    if part == "wall":
        return "facade" if block.kind == "shop" else block.kind
    return "plain"


def _colors(block: Block) -> Array:
    walls = np.tile(block.tint, (8, 1))
    roofs = np.array([block.roof_color] * 2 + [block.tint * 0.75] * 2 + [block.roof_color])
    return np.concatenate([walls, roofs])


def _geometry(blocks: list[Block], camera: Camera) -> tuple[Array, Array, Array]:
    """Quads (B, 13, 4, 3), outward normals (B, 13, 3) and existence (B, 13) bool of all blocks."""
    foot = _feet(blocks, camera)
    height = np.array([b.height for b in blocks])
    rise = np.array([b.roof for b in blocks])
    shop = np.array([b.kind == "shop" for b in blocks])
    low = np.where(shop, np.minimum(SHOP_HEIGHT, height), 0.0)
    after = np.roll(foot, -1, axis=1)
    walls = np.stack([foot, after, after, foot], axis=2)
    upper, lower = walls.copy(), walls.copy()
    upper[:, :, :2, 1] -= low[:, None, None]
    upper[:, :, 2:, 1] -= height[:, None, None]
    lower[:, :, 2:, 1] -= low[:, None, None]
    outward = (foot + after) / 2 - foot.mean(1, keepdims=True)
    outward[..., 1] = 0
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    eaves = foot.copy()
    eaves[..., 1] -= height[:, None]
    ridge = (eaves + eaves[:, [3, 2, 1, 0]]) / 2
    ridge[..., 1] -= rise[:, None]
    slopes = np.stack([eaves[:, [0, 2]], eaves[:, [1, 3]], ridge[:, [1, 3]], ridge[:, [0, 2]]], 2)
    gables = np.stack([eaves[:, [0, 1]], eaves[:, [3, 2]], ridge[:, [0, 1]], ridge[:, [0, 1]]], 2)
    half = np.array([b.half[0] for b in blocks])
    tilted = outward[:, [0, 2]] * rise[:, None, None]
    tilted[..., 1] -= half[:, None]
    tilted /= np.linalg.norm(tilted, axis=-1, keepdims=True)
    up = np.broadcast_to((0.0, -1.0, 0.0), (len(blocks), 1, 3))
    normals = np.concatenate([outward, outward, tilted, outward[:, [3, 1]], up], axis=1)
    quads = np.concatenate([upper, lower, slopes, gables, eaves[:, None]], axis=1)
    gabled = np.repeat((rise > 0)[:, None], 4, axis=1)
    always = np.ones((len(blocks), 4), bool)
    shops = np.repeat(shop[:, None], 4, axis=1)
    return quads, normals, np.concatenate([always, shops, gabled, ~gabled[:, :1]], axis=1)


def _feet(blocks: list[Block], camera: Camera) -> Array:
    """(B, 4, 3): ground corners in the camera frame, across +, +, -, -, along +, -, -, +."""
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    spans = signs * np.array([b.half for b in blocks])[:, None]
    heading = np.array([b.heading for b in blocks])[:, None]
    c, s = np.cos(heading), np.sin(heading)
    place = np.array([(b.x, b.z) for b in blocks])
    x = place[:, :1] + spans[..., 0] * c + spans[..., 1] * s
    z = place[:, 1:] - spans[..., 0] * s + spans[..., 1] * c
    return camera.on_ground(np.stack([x, z], axis=-1))


def paint_surface(canvas: Array, surface: Surface, camera: Camera) -> None:
    """Fill a plain surface, or warp a tiled texture onto the surface."""
    if surface.kind not in _BANKS:
        fill(canvas, surface.pixels, surface.color.tolist())
        return
    bank, count, texel = _BANKS[surface.kind]
    chain, pixels, quad = bank(surface.texture % count), surface.pixels, surface.quad
    (x0, y0), (x1, y1) = (pixels.min(0) >> 4).tolist(), ((pixels.max(0) >> 4) + 2).tolist()
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, canvas.shape[1]), min(y1, canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    near, far = surface.depth
    texels = np.sqrt(max(near, 2.0) * far) / camera.focal / texel
    level = int(np.clip(np.log2(max(texels, 1e-3)) + 0.3, 0, len(chain) - 1))
    cell = texel * 2**level
    along = quad[1] - quad[0]
    along *= cell / np.sqrt(along @ along)
    # Texel (column, row, 1) -> camera point -> pixel of the painted window.
    warp = camera.intrinsics @ np.stack([along, (0, cell, 0), quad[3]], axis=1)
    warp[0] -= x0 * warp[2]
    warp[1] -= y0 * warp[2]
    size = (x1 - x0, y1 - y0)
    picture = cv2.warpPerspective(chain[level], warp, size, borderMode=cv2.BORDER_WRAP)
    picture = cv2.multiply(picture, (*(surface.color / 225), 0))
    mask = np.zeros(size[::-1], np.uint8)
    fill(mask, pixels - np.array([16 * x0, 16 * y0], np.int32), 255)
    cv2.copyTo(picture, mask, canvas[y0:y1, x0:x1])
