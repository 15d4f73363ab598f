"""Camera of an image: world to camera frame, projection and clipping."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from km3d_ros.town.scene import Array, View

NEAR = 0.1
"""Near plane in metres."""
ROAD_NEAR = 0.5
"""Near plane of the road in metres. Nearer parts of the road are below the image."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at a `View`. Its frame is x right, y down, z forward."""

    view: View
    width: int
    height: int
    focal: float  # pixels

    @property
    def center(self) -> tuple[float, float]:
        """The principal point in pixels."""
        shift_x, shift_y = self.view.shift
        return (
            (self.width - 1) / 2 + shift_x * self.width,
            (self.height - 1) / 2 + shift_y * self.width,
        )

    @property
    def intrinsics(self) -> Array:
        """(3, 3)."""
        cx, cy = self.center
        return np.array([[self.focal, 0, cx], [0, self.focal, cy], [0, 0, 1.0]])

    def plan(self, x: Array, z: Array) -> tuple[Array, Array]:
        """Transform world x, z to camera x, z."""
        c, s = np.cos(self.view.heading), np.sin(self.view.heading)
        dx, dz = x - self.view.x, z - self.view.z
        return dx * c - dz * s, dx * s + dz * c

    def ground(self, x: Array, z: Array) -> Array:
        """Camera y of the road at camera x, z, metres."""
        return self.view.height + self.view.slope * z + self.view.bank * x

    def on_ground(self, outline: Array) -> Array:
        """Convert (..., 2) world x, z to (..., 3) camera points on the road."""
        x, z = self.plan(outline[..., 0], outline[..., 1])
        return np.stack([x, self.ground(x, z), z], axis=-1)

    def horizon(self, column: float) -> float:
        """Row of the road's vanishing line in an image column, pixels."""
        cx, cy = self.center
        return cy + self.focal * self.view.slope + self.view.bank * (column - cx)

    def project(self, points: Array) -> Array:
        """Project (..., 3) camera points with positive z to (..., 2) pixels."""
        return points[..., :2] * (self.focal / points[..., 2:]) + self.center

    def project_ahead(self, points: Array, near: float = NEAR) -> Array:
        """As `project`, of any points: nearer ones are moved to z = `near`."""
        ahead = points.copy()
        ahead[..., 2] = np.maximum(ahead[..., 2], near)
        return self.project(ahead)

    def project_outlines(self, outlines: list[Array]) -> list[Array | None]:
        """Project world outlines (n, 2) on the road to `fixed` pixels; None outside the image."""
        if not outlines:
            return []
        points = self.on_ground(np.concatenate(outlines))
        starts = np.cumsum([0] + [len(outline) for outline in outlines])
        pixels = self.project_ahead(points, ROAD_NEAR)
        rounded = fixed(pixels)
        whole = np.minimum.reduceat(points[:, 2], starts[:-1]) >= ROAD_NEAR
        low = np.minimum.reduceat(pixels, starts[:-1])
        high = np.maximum.reduceat(pixels, starts[:-1])
        found: list[Array | None] = [None] * len(outlines)
        seen = (high[:, 0] > 0) & (low < (self.width, self.height)).all(1)
        seen &= high[:, 1] - low[:, 1] > 0.3
        for k in np.flatnonzero(seen | ~whole).tolist():
            row = slice(starts[k], starts[k + 1])
            if whole[k]:
                found[k] = rounded[row]
                continue
            part = clip_polygon(points[row], ROAD_NEAR)
            if len(part) > 2:
                found[k] = fixed(self.project(part))
        return found

    def direction(self, vector: Array) -> Array:
        """Rotate a world vector (x, up, z) into the camera frame."""
        c, s = np.cos(self.view.heading), np.sin(self.view.heading)
        x, up, z = vector
        return np.array([x * c - z * s, -up, x * s + z * c])


def fixed(pixels: Array) -> Array:
    """Convert pixels to OpenCV's fixed-point format with 4 fractional bits, int32."""
    return np.rint(np.clip(pixels, -20000, 20000) * 16).astype(np.int32)


def fill(canvas: Array, pixels: Array, color) -> None:
    """Paint an antialiased convex polygon (n, 2) in `fixed` pixels."""
    cv2.fillConvexPoly(canvas, pixels, color, cv2.LINE_AA, 4)


def blend(area: Array, color: Array, clear: Array, warp: Array, gain: Array) -> None:
    """Paint a premultiplied picture over an area of the canvas.

    color: (h, w, 3) uint8, premultiplied; clear: (h, w) uint8, 255 - opacity.
    warp: (2, 3) affine from the picture to the area. gain: (3,) factors of the colours.
    """
    size = area.shape[1::-1]
    part = cv2.multiply(cv2.warpAffine(color, warp, size), (*gain, 0))
    gap = cv2.warpAffine(clear, warp, size, borderValue=255)
    behind = cv2.multiply(area, cv2.cvtColor(gap, cv2.COLOR_GRAY2BGR), scale=1 / 255)
    area[:] = cv2.add(behind, part)


def clip_polygon(points: Array, near: float = NEAR) -> Array:
    """Clip a polygon (n, 3) to z >= `near`. Returns (0, 3) if nothing is left."""
    ahead = points[:, 2] >= near
    if ahead.all():
        return points
    if not ahead.any():
        return points[:0]
    corners = []
    for k in range(len(points)):
        a, b = points[k - 1], points[k]
        if ahead[k] != ahead[k - 1]:
            corners.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
        if ahead[k]:
            corners.append(b)
    return np.array(corners)


def clip_hull(points: Array, near: float = NEAR) -> Array:
    """Clip the hull of `points` (n, 3) to z >= `near`. Returns points whose hull is the result."""
    ahead = points[:, 2] >= near
    if ahead.all() or not ahead.any():
        return points[ahead]
    front, back = points[ahead][:, None], points[~ahead][None]
    share = (near - front[..., 2:]) / (back[..., 2:] - front[..., 2:])
    return np.concatenate([points[ahead], (front + share * (back - front)).reshape(-1, 3)])
