"""Polygon meshes with material slots, painting layers and convex parts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

Array = np.ndarray


_MATERIALS = {
    "PAINT": (0.30, 0.30, 0.30, 0.07),
    "TRIM": (0.022, 0.022, 0.022, 0.02),
    "GLASS": (0.010, 0.010, 0.008, 0.05),
    "GLARE": (0.10, 0.10, 0.09, 0.3),
    "TYRE": (0.018, 0.018, 0.018, 0.0),
    "RIM": (0.38, 0.37, 0.36, 0.2),
    "HEAD": (0.72, 0.70, 0.66, 0.2),
    "TAIL": (0.025, 0.02, 0.42, 0.06),
    "PLATE": (0.66, 0.68, 0.68, 0.02),
    "DARK": (0.010, 0.010, 0.010, 0.0),
    "CHROME": (0.35, 0.35, 0.35, 0.5),
    "CARGO": (0.40, 0.40, 0.40, 0.02),
    "SKIN": (0.22, 0.32, 0.55, 0.0),
    "HAIR": (0.03, 0.04, 0.06, 0.0),
    "SHIRT": (0.30, 0.30, 0.30, 0.0),
    "TROUSERS": (0.06, 0.05, 0.04, 0.0),
    "SHOES": (0.04, 0.04, 0.05, 0.0),
    "BAG": (0.10, 0.08, 0.12, 0.0),
    "METAL": (0.20, 0.20, 0.19, 0.1),
    "SIGN": (0.60, 0.60, 0.60, 0.03),
    "WOOD": (0.05, 0.09, 0.15, 0.0),
    "ORANGE": (0.04, 0.20, 0.75, 0.0),
    "PATTERN": (0.30, 0.30, 0.30, 0.0),
    "LIGHT": (0.35, 0.35, 0.35, 0.09),
    "SHADE": (0.20, 0.20, 0.20, 0.03),
    "SKY": (0.16, 0.15, 0.14, 0.2),
}
"""Blue, green and red, linear, and specular reflectance at normal incidence, 0 to 1."""

Slot = IntEnum("Slot", list(_MATERIALS), start=0)
"""Material of a face. The palette of an actor holds one colour per slot."""
COLORS = np.array(list(_MATERIALS.values()))[:, :3]
"""(slots, 3): linear BGR, from which the palettes of actors are sampled."""
GLOSS = np.array(list(_MATERIALS.values()))[:, 3]
"""(slots,): specular reflectance at normal incidence."""


@dataclass(frozen=True)
class Mesh:
    """Planar polygons in metres: x forward, y left, z up, origin at the bottom centre."""

    points: Array  # (F, K, 3): polygon corners. The last corner is repeated up to K.
    counts: Array  # (F,): number of corners
    normal: Array  # (F, 3): outward unit normals
    centroid: Array  # (F, 3): mean of the corners
    thickness: Array  # (F,): smallest extent in metres, to skip faces thinner than a pixel
    slot: Array  # (F,): index into the palette
    layer: Array  # (F,): painting order. Within a layer, farther faces are painted first.
    two_sided: Array  # (F,) bool
    hulls: tuple[tuple[Array, int], ...]  # convex parts of the silhouette: (n, 3) points and slot
    size: Array  # (3,): length, width, height of the extent. It is the size of the 3D box.

    @cached_property
    def table(self) -> Array:
        """(F, 11): columns centroid, normal, thickness, slot, layer, two_sided, counts."""
        rest = (self.thickness, self.slot, self.layer, self.two_sided, self.counts)
        return np.column_stack([self.centroid, self.normal, *rest])


class Builder:
    """Collects polygons and convex parts for a mesh."""

    def __init__(self) -> None:
        self._faces: list[tuple[Array, Array, int, int, bool]] = []
        self._hulls: list[tuple[Array, int]] = []

    def polygon(self, points, slot, layer=1, inside=(0.0, 0.0, 0.7), two_sided=False) -> None:
        """Add a convex planar polygon (n, 3) whose normal points away from `inside`."""
        points = np.asarray(points, float)
        self._faces.append((points, inside, int(slot), layer, two_sided))

    def panel(self, low, high, slot, layer=1, inside=(0.0, 0.0, 0.7), two_sided=False) -> None:
        """Add an upright rectangle between two opposite corners, at its foot and at its top."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        corners = [(x0, y0, z0), (x1, y1, z0), (x1, y1, z1), (x0, y0, z1)]
        self.polygon(corners, slot, layer, inside, two_sided)

    def loft(self, rings, slots, layer=1, closed=False, hull=None) -> None:
        """Add quads between consecutive rings (R, n, 3).

        slots: one slot, or one for each strip of quads along the rings.
        closed: whether the last point of a ring connects to its first.
        hull: slot of a convex part around all rings; None for no such part.
        """
        rings = np.asarray(rings, float)
        inside = rings.reshape(-1, 3).mean(0)
        count = rings.shape[1]
        strips = count if closed else count - 1
        slots = [slots] * strips if np.isscalar(slots) else slots
        for a, b in itertools.pairwise(rings):
            middle = (a.mean(0) + b.mean(0)) / 2 if closed else inside
            for j in range(strips):
                k = (j + 1) % count
                self.polygon((a[j], a[k], b[k], b[j]), slots[j], layer, middle)
        if hull is not None:
            self.hull(rings, hull)

    def box(self, low, high, slot, layer=1, hull=True) -> None:
        """Add an axis-aligned box between two opposite corners, without a bottom face."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        rings = [[(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)] for x in (x0, x1)]
        inside = ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2)
        self.loft(rings, slot, layer, hull=slot if hull else None)
        for ring in rings:
            self.polygon(ring, slot, layer, inside)

    def tube(self, start, end, radius, slot, layer=1, sides=6, end_radius=None) -> None:
        """Add a tapered prism from `start` to `end` with both ends closed."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        end_radius = radius if end_radius is None else end_radius
        axis = (end - start) / np.linalg.norm(end - start)
        side = np.cross(axis, (0.0, 1.0, 0.0) if abs(axis[1]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        other = np.cross(axis, side)
        turn = np.arange(sides) * 2 * np.pi / sides + np.pi / 4
        circle = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other
        rings = [start + radius * circle, end + end_radius * circle]
        self.loft(rings, slot, layer, closed=True, hull=slot)
        for ring in rings:
            self.polygon(ring, slot, layer, (start + end) / 2)

    def hull(self, points, slot) -> None:
        """Add a convex part of the silhouette, the hull of `points` (n, 3)."""
        self._hulls.append((np.asarray(points, float).reshape(-1, 3), int(slot)))

    def finish(self, size=None) -> Mesh:
        """Return the centred mesh, scaled to `size` (length, width, height; metres) if given."""
        outlines, insides, slots, layers, two_sided = zip(*self._faces, strict=True)
        counts = np.array([len(outline) for outline in outlines])
        points = np.empty((len(counts), counts.max(), 3))
        for row, outline in zip(points, outlines, strict=True):
            row[: len(outline)] = outline
            row[len(outline) :] = outline[-1]
        low, high = points.min((0, 1)), points.max((0, 1))
        origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        scale = np.ones(3) if size is None else np.asarray(size) / (high - low)
        used = np.arange(points.shape[1]) < counts[:, None]
        centroid = (points * used[..., None]).sum(1) / counts[:, None]
        # Newell's method: the length is twice the area, and repeated corners add nothing.
        area = np.cross(points, np.roll(points, -1, axis=1)).sum(1)
        area *= np.where((area * (centroid - insides)).sum(1, keepdims=True) < 0, -1, 1)
        length = np.linalg.norm(area, axis=1)
        return Mesh(
            points=(points - origin) * scale,
            counts=counts,
            normal=area / np.maximum(length, 1e-12)[:, None],
            centroid=(centroid - origin) * scale,
            thickness=length / 2 / np.ptp(points, axis=1).max(1),
            slot=np.array(slots),
            layer=np.array(layers),
            two_sided=np.array(two_sided),
            hulls=tuple(((p - origin) * scale, slot) for p, slot in self._hulls),
            size=(high - low) * scale,
        )


def disc(center, radius: float, corners: int, start: float = 0.0) -> Array:
    """(corners, 3): a regular polygon in the x-z plane."""
    turn = start + np.arange(corners) * 2 * np.pi / corners
    circle = np.stack([np.cos(turn), np.zeros(corners), np.sin(turn)], axis=1)
    return np.asarray(center) + radius * circle
