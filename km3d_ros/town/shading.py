"""Display colours of surfaces from material, normal and light."""

from __future__ import annotations

import numpy as np

from km3d_ros.town.projection import Camera
from km3d_ros.town.scene import Array, Light


class Shader:
    """Shades surfaces in the frame of one camera, with the light of one scene."""

    def __init__(self, light: Light, camera: Camera) -> None:
        self.light = light
        self.sun = camera.direction(light.sun)
        self.bounce = 0.35 * (light.sky_color + light.sun_color * max(light.sun[1], 0)) * 0.5

    def radiance(self, color: Array, normal: Array, sunlit: Array | float = 1.0) -> Array:
        """(N, 3) diffuse radiance. `normal` (N, 3) in the camera frame, `sunlit` (N,) 0 to 1."""
        up = -0.5 * normal[:, 1:2] + 0.5
        facing = np.maximum(normal @ self.sun, 0.0) * sunlit
        light = self.light
        return color * (
            light.sky_color * up + self.bounce * (1 - up) + light.sun_color * facing[:, None]
        )

    def gloss(self, sight: Array, normal: Array, mirror: Array, sunlit: Array) -> Array:
        """(N, 3) specular radiance of sky, street and sun; `sight` (N, 3) unit view vectors."""
        cosine = (sight * normal).sum(1, keepdims=True)
        reflected = sight - 2 * cosine * normal
        fresnel = mirror[:, None] * (1 + 5 * (1 - np.abs(cosine)) ** 5)
        high = np.clip((0.05 - reflected[:, 1:2]) * 3.5, 0, 1)
        world = 0.35 * self.bounce + high * 1.3 * self.light.sky_color
        spark = np.maximum(reflected @ self.sun, 0.0) ** 60 * sunlit
        return fresnel * (world + 6 * spark[:, None] * self.light.sun_color)

    def display(self, radiance: Array, distance: Array | float) -> Array:
        """(N, 3) display colours, 0 to 255, of radiance behind `distance` (N,) metres of haze."""
        clear = np.exp(-self.light.haze * np.asarray(distance, float))[..., None]
        radiance = radiance * clear + self.light.sky_color * (1 - clear)
        return 255 * np.clip(radiance, 0, 1) ** (1 / 2.2)

    def flat(self, color: Array, normal: tuple[float, float, float], distance: float) -> Array:
        """(3,) display colour of one diffuse face."""
        lit = self.radiance(np.asarray(color)[None], np.array([normal]))
        return self.display(lit, np.array([distance]))[0]

    @property
    def shadow(self) -> float:
        """Display colour of level ground in the shade, relative to that in the sun."""
        sky = self.light.sky_color.mean()
        sun = self.light.sun_color.mean() * max(self.light.sun[1], 0)
        return float((sky / (sky + sun)) ** (1 / 2.2))
