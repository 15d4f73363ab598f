"""Visible faces of all actors of a frame, computed in one batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from km3d_ros.town.meshes import GLOSS
from km3d_ros.town.projection import NEAR, Camera, clip_hull, clip_polygon, fixed
from km3d_ros.town.scene import Actor, Array
from km3d_ros.town.shading import Shader

THINNEST = 0.8
"""Least thickness of a painted face in pixels. Thinner faces leave the undercoat visible."""


DETAIL = 3
"""First layer of details, whose least thickness is twice `THINNEST`."""


@dataclass(frozen=True)
class Painting:
    """Polygons of one actor. Pixels are as of `projection.fixed`, colours are display BGR.

    The hulls of the undercoat make up the silhouette.
    """

    undercoat: list[tuple[Array, list[float]]]  # points (n, 2) around a part, and its colour
    faces: list[tuple[Array, list[float]]]  # convex polygons (n, 2) and colours, back to front


class Pose:
    """Positions, yaws and sizes of N actors in the camera frame; metres and radians."""

    def __init__(self, actors: list[Actor], camera: Camera) -> None:
        place = np.array([(a.x, a.z) for a in actors]).reshape(-1, 2)
        self.x, self.z = camera.plan(place[:, 0], place[:, 1])
        self.y = camera.ground(self.x, self.z)
        self.yaw = np.array([a.yaw for a in actors]) - camera.view.heading
        self.size = np.array([a.size for a in actors]).reshape(-1, 3)

    def turn(self, vectors: Array, owner: Array) -> Array:
        """Rotate mesh vectors (F, ..., 3) of the actors `owner` (F,) into the camera frame."""
        shape = (-1,) + (1,) * (vectors.ndim - 2)
        c, s = np.cos(self.yaw)[owner].reshape(shape), np.sin(self.yaw)[owner].reshape(shape)
        x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
        return np.stack([x * c + y * s, -z, y * c - x * s], axis=-1)

    def bottom(self, owner: Array) -> Array:
        """(F, 3): centres of the bottom faces of the actors `owner` (F,)."""
        return np.stack([self.x[owner], self.y[owner], self.z[owner]], axis=-1)


def _candidates(actors: list[Actor], thinnest: Array) -> tuple[Array, Array, Array]:
    """Faces thicker than `thinnest` (N,) of their actor: rows of `Mesh.table`, indices, actors."""
    rows = [np.flatnonzero(a.mesh.thickness > t) for a, t in zip(actors, thinnest, strict=True)]
    owner = np.repeat(np.arange(len(actors)), [len(r) for r in rows])
    table = np.concatenate([a.mesh.table[r] for a, r in zip(actors, rows, strict=True)])
    return table, np.concatenate(rows), owner


def _points(actors: list[Actor], chosen: Array, owner: Array) -> Array:
    """(F, K, 3): corners of the `chosen` faces of each mesh, grouped by `owner`."""
    cuts = np.searchsorted(owner, np.arange(len(actors) + 1))
    points = np.empty((len(chosen), max(a.mesh.points.shape[1] for a in actors), 3))
    for k, actor in enumerate(actors):
        rows = slice(cuts[k], cuts[k + 1])
        part = actor.mesh.points[chosen[rows]]
        points[rows, : part.shape[1]] = part
        points[rows, part.shape[1] :] = part[:, -1:]
    return points


def paint_actors(
    actors: list[Actor], pose: Pose, camera: Camera, shader: Shader, sunlit: Array
) -> list[Painting]:
    """Transform, cull, shade and sort the faces of N actors.

    `sunlit` (N,) is the part of the sunlight that reaches each actor, 0 to 1. Each step runs once
    over all faces of the frame, which is faster than a loop over actors.
    """
    if not actors:
        return []
    scale = pose.size / np.array([a.mesh.size for a in actors])
    # Most faces of distant actors are too thin. Dropping them first saves the later steps.
    nearest = np.maximum(pose.z - pose.size[:, :2].max(1), 0.3)
    table, chosen, owner = _candidates(actors, THINNEST * nearest / camera.focal)
    centroid = pose.turn(table[:, 0:3] * scale[owner], owner) + pose.bottom(owner)
    normal = pose.turn(table[:, 3:6], owner)
    facing, distance = (normal * centroid).sum(1), np.linalg.norm(centroid, axis=1)
    away = facing > 0
    seen = 0.3 + 0.7 * np.abs(facing) / np.maximum(distance, 0.3)
    thick = table[:, 6] * seen * camera.focal / np.maximum(centroid[:, 2], 0.3)
    least = np.where(table[:, 8] >= DETAIL, 2 * THINNEST, THINNEST)
    kept = np.flatnonzero(((table[:, 9] > 0) | ~away) & (thick > least))
    kept = kept[np.lexsort((-distance[kept], table[kept, 8], owner[kept]))]
    normal = np.where(away[kept, None], -normal[kept], normal[kept])
    centroid, distance = centroid[kept], distance[kept]
    owner, chosen, table = owner[kept], chosen[kept], table[kept]
    slot = table[:, 7].astype(int)
    palettes = np.array([a.palette for a in actors])
    lit = shader.radiance(palettes[owner, slot], normal, sunlit[owner])
    sight = centroid / np.maximum(distance, 1e-6)[:, None]
    lit += shader.gloss(sight, normal, GLOSS[slot], sunlit[owner])
    colors = shader.display(lit, distance).tolist()
    points = _points(actors, chosen, owner) * scale[owner][:, None]
    points = pose.turn(points, owner) + pose.bottom(owner)[:, None]
    corners = table[:, 10].astype(int).tolist()
    polygons = _polygons(points, corners, camera)
    cuts = np.searchsorted(owner, np.arange(len(actors) + 1))
    faces = list(zip(polygons, colors, strict=True))
    undercoats = _undercoats(actors, pose, camera, shader, palettes, scale)
    return [
        Painting(undercoats[k], [f for f in faces[cuts[k] : cuts[k + 1]] if len(f[0]) > 2])
        for k in range(len(actors))
    ]


def _polygons(points: Array, corners: list[int], camera: Camera) -> list[Array]:
    """Pixels of polygons (F, K, 3), without repeated corners and clipped at the near plane."""
    ahead = points[..., 2].min(1) > NEAR
    pixels = fixed(camera.project_ahead(points))
    polygons = [row[:n] for row, n in zip(pixels, corners, strict=True)]
    for k in np.flatnonzero(~ahead):
        polygons[k] = fixed(camera.project(clip_polygon(points[k, : corners[k]])))
    return polygons


def _undercoats(actors, pose, camera, shader, palettes, scale):
    """Pixels and display colours of the convex parts of each actor, computed in one batch."""
    parts = [(k, p, slot) for k, a in enumerate(actors) for p, slot in a.mesh.hulls]
    lengths = np.array([len(p) for _, p, _ in parts])
    owner = np.repeat([k for k, _, _ in parts], lengths)
    points = np.concatenate([p for _, p, _ in parts]) * scale[owner]
    points = pose.turn(points, owner) + pose.bottom(owner)
    pixels = fixed(camera.project_ahead(points))
    near = np.minimum.reduceat(points[:, 2], np.cumsum(lengths) - lengths) < NEAR
    first = np.array([k for k, _, _ in parts])
    base = palettes[first, [slot for _, _, slot in parts]]
    side = shader.radiance(base, np.tile((0.0, -0.3, -0.3), (len(parts), 1)))
    colors = shader.display(side, np.maximum(pose.z[first], 0)).tolist()
    ends = np.cumsum(lengths)
    out: list[list[tuple[Array, list[float]]]] = [[] for _ in actors]
    for k, end, length, color, clip in zip(first, ends, lengths, colors, near, strict=True):
        part = pixels[end - length : end]
        if clip:
            part = fixed(camera.project(clip_hull(points[end - length : end])))
        if len(part) > 2:
            out[k].append((part, color))
    return out
