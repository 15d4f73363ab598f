"""Renders a scene from back to front and labels its visible objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.town.faces import Painting, Pose, paint_actors
from km3d_ros.town.ground import paint_ground, paint_horizon, paint_sky, texture_ground
from km3d_ros.town.labels import label
from km3d_ros.town.ordering import painters_order
from km3d_ros.town.projection import Camera
from km3d_ros.town.scene import Actor, Array, Block, Scene, Tree
from km3d_ros.town.sensor import develop
from km3d_ros.town.shading import Shader
from km3d_ros.town.shadows import shadow_mask
from km3d_ros.town.structures import paint_surface, visible_surfaces
from km3d_ros.town.trees import Grove

SIZE = (1280, 384)
"""Default width and height in pixels."""
FARTHEST_PROP = 85.0
"""Greatest distance ahead, in metres, at which props are painted."""


@dataclass(frozen=True)
class TownFrame:
    """A rendered image with its camera and labels."""

    image: Array  # (height, width, 3) uint8 BGR
    camera: CameraModel  # without translation
    objects: list[KittiObject]  # 3D boxes in the level frame of the camera
    scene: Scene  # what was rendered. In a drive, actors keep their order.

    @property
    def projection(self) -> Array:
        """(3, 4) float64, K [I | 0]."""
        return self.camera.projection


def render(
    scene: Scene, width: int = SIZE[0], height: int = SIZE[1], focal: float | None = None
) -> TownFrame:
    """Render a scene. `focal`, in image widths, replaces the focal length of the scene."""
    view = scene.view
    camera = Camera(view, width, height, (view.focal if focal is None else focal) * width)
    shader = Shader(scene.light, camera)
    canvas = np.empty((height, width, 3), np.uint8)
    paint_sky(canvas, scene, camera)
    paint_ground(canvas, scene, camera, shader)
    mask, shade = shadow_mask(scene, camera, shader)
    texture_ground(canvas, scene, camera, mask)
    paint_horizon(canvas, scene, camera, shader)
    objects = _Painter(canvas, scene, camera, shader).paint(shade)
    model = CameraModel.from_intrinsics(camera.intrinsics, width, height)
    return TownFrame(develop(canvas, scene.film), model, objects, scene)


class _Painter:
    """Paints upright objects in order, into the image and into a visibility map.

    The map has half the size of the image. A cell holds 1 + the index of the labelled actor that
    is visible there, or 0.
    """

    def __init__(self, canvas: Array, scene: Scene, camera: Camera, shader: Shader) -> None:
        self.canvas, self.camera, self.shader = canvas, camera, shader
        self.blocks = [b for b in scene.blocks if self._seen(b.x, b.z, max(b.half) * 1.5)]
        self.trees = [t for t in scene.trees if self._seen(t.x, t.z, t.width)]
        self.actors = [a for a in scene.actors if self._seen(a.x, a.z, max(a.size[:2]), a)]
        self.map = np.zeros((canvas.shape[0] // 2, canvas.shape[1] // 2), np.uint8)

    def _seen(self, x: float, z: float, radius: float, actor: Actor | None = None) -> bool:
        x, z = self.camera.plan(x, z)
        if actor and not actor.class_name and z > FARTHEST_PROP:
            return False
        reach = 0.55 * self.camera.width / self.camera.focal
        return z > -radius and abs(x) < max(z, 0) * reach + radius * (1 + reach)

    def paint(self, shade: Array) -> list[KittiObject]:
        """Paint all objects and return labels. `shade`: shadow mask without actors' shadows."""
        pose = Pose(self.actors, self.camera)
        sunlit = self._sunlit(pose, shade)
        paintings = paint_actors(self.actors, pose, self.camera, self.shader, sunlit)
        surfaces = visible_surfaces(self.blocks, self.camera, self.shader)
        grove = Grove(self.trees, self.camera, self.shader)
        items = [*self.blocks, *self.trees, *self.actors]
        trees, actors = len(self.blocks), len(self.blocks) + len(self.trees)
        whole: dict[int, int] = {}
        for k in painters_order(self._footprints(items)):
            if k < trees:
                for surface in surfaces[k]:
                    paint_surface(self.canvas, surface, self.camera)
                self._hide([surface.pixels for surface in surfaces[k]])
            elif k < actors:
                self._hide(grove.paint(self.canvas, k - trees))
            else:
                whole[k - actors] = self._actor(k - actors, paintings[k - actors])
        return self._labels(pose, whole)

    def _footprints(self, items: list[Block | Tree | Actor]) -> Array:
        rows = []
        for item in items:
            if isinstance(item, Block):
                half, yaw = (item.half[1], item.half[0]), item.heading - np.pi / 2
            elif isinstance(item, Tree):
                half, yaw = (max(item.trunk, 0.15),) * 2, 0.0
            else:
                half, yaw = (item.size[0] / 2, item.size[1] / 2), item.yaw
            rows.append((*self.camera.plan(item.x, item.z), *half, yaw - self.camera.view.heading))
        return np.array(rows).reshape(-1, 5)

    def _sunlit(self, pose: Pose, shade: Array) -> Array:
        """(N,) part of the sunlight that reaches each actor, from the shadow mask below it."""
        bottom = np.stack([pose.x, pose.y, np.maximum(pose.z, 1.0)], axis=1)
        pixels = np.rint(self.camera.project(bottom) / 2).astype(int)
        rows = pixels[:, 1].clip(0, shade.shape[0] - 1)
        columns = pixels[:, 0].clip(0, shade.shape[1] - 1)
        return np.where(shade[rows, columns] == 255, 1.0, 0.12)

    def _hide(self, polygons: list[Array]) -> None:
        for pixels in polygons:
            cv2.fillConvexPoly(self.map, pixels >> 1, 0, cv2.LINE_8, 4)

    def _actor(self, index: int, painting: Painting) -> int:
        """Paint one actor. Returns the number of map cells that it covers."""
        canvas = self.canvas
        ident = index + 1 if self.actors[index].class_name and index < 255 else 0
        for points, color in painting.undercoat:
            hull = cv2.convexHull(points)
            cv2.fillConvexPoly(canvas, hull, color, cv2.LINE_AA, 4)
            cv2.fillConvexPoly(self.map, hull >> 1, ident, cv2.LINE_8, 4)
        for points, color in painting.faces:
            cv2.fillConvexPoly(canvas, points, color, cv2.LINE_AA, 4)
        if not ident or not painting.undercoat:
            return 0
        points = np.concatenate([points for points, _ in painting.undercoat]) // 32
        x0, y0 = np.maximum(points.min(0) - 1, 0)
        x1, y1 = np.maximum(points.max(0) + 2, 0)
        return int(np.count_nonzero(self.map[y0:y1, x0:x1] == ident))

    def _labels(self, pose: Pose, whole: dict[int, int]) -> list[KittiObject]:
        counts = np.bincount(self.map.ravel(), minlength=256)
        labels = []
        for k, actor in enumerate(self.actors):
            if actor.class_name and whole[k]:
                visible = counts[k + 1] / whole[k] if k < 255 else 0.0
                labels.append(label(actor.class_name, pose, k, self.camera, visible))
        return [item for item in labels if item]
