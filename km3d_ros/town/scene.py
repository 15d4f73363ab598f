"""Data classes of a Town scene.

World frame: x right and z forward on a flat map, height upwards, in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from km3d_ros.town.meshes import Array, Mesh


@dataclass(frozen=True)
class Light:
    """Sun, sky and haze. Colours are linear BGR."""

    sun: Array  # (3,): unit vector to the sun in world x, up, z
    sun_color: Array
    sky_color: Array
    sky: int
    horizon: int
    shift: float  # offset of the sky and horizon panoramas, 0 to 1 of their width
    haze: float  # extinction coefficient of the air, per metre


@dataclass(frozen=True)
class View:
    """Pose of the camera. `slope` and `bank` tilt the road, while the camera is level."""

    x: float
    z: float
    heading: float  # clockwise from world z, radians
    height: float
    slope: float  # metres that the road descends per metre ahead
    bank: float  # metres that the road descends per metre to the right
    focal: float  # in image widths
    shift: tuple[float, float]  # principal point from the image centre, in image widths

    @property
    def place(self) -> tuple[float, float, float, float]:
        """Camera in a level frame: x ahead, y left, z up in metres, and heading in radians.

        The heading is counterclockwise from x. Where the road descends, the camera does.
        """
        c, s = math.cos(self.heading), math.sin(self.heading)
        right, ahead = self.x * c - self.z * s, self.x * s + self.z * c
        descent = self.slope * ahead + self.bank * right
        return self.z, -self.x, -descent, -self.heading

    def turned(self, angle: float) -> View:
        """The view after a turn to the right by `angle` radians, on the same surface."""
        c, s = math.cos(angle), math.sin(angle)
        return replace(
            self,
            heading=self.heading + angle,
            slope=c * self.slope + s * self.bank,
            bank=c * self.bank - s * self.slope,
        )


@dataclass(frozen=True)
class Film:
    """Effects of the camera and of the image file."""

    gain: float
    balance: tuple[float, float, float]
    contrast: float
    vignette: float
    blur: float
    motion: int
    noise: float
    noise_index: int
    jpeg: int  # quality of an additional JPEG compression; 0 for none


@dataclass(frozen=True)
class Actor:
    """An object with a mesh. Labelled objects have a class name; props have None."""

    class_name: str | None
    mesh: Mesh
    size: tuple[float, float, float]  # length, width, height of the 3D box in metres
    x: float
    z: float
    yaw: float  # KITTI's rotation_y in the world frame, radians
    palette: Array  # (slots, 3) linear BGR


@dataclass(frozen=True)
class Block:
    """A building, wall or hedge: an upright textured box."""

    x: float
    z: float
    heading: float
    half: tuple[float, float]  # half extents across and along its heading, metres
    height: float
    kind: str  # facade, shop (a facade above shops), garage, foliage; others have no texture
    texture: int
    tint: Array  # (3,) linear BGR
    roof: float  # height of a gabled roof in metres; 0 for a flat one
    roof_color: Array


@dataclass(frozen=True)
class Tree:
    """A foliage sprite: a crown on a trunk, or a bush (`trunk` 0)."""

    x: float
    z: float
    width: float
    base: float
    top: float
    texture: int
    flip: bool
    trunk: float


@dataclass(frozen=True)
class Patch:
    """A coloured polygon on the ground."""

    outline: Array  # (n, 2): world x, z
    color: Array  # (3,) linear BGR


@dataclass(frozen=True)
class Scene:
    """Camera, light and contents of one frame."""

    view: View
    light: Light
    film: Film
    ground: Array  # (3,) linear BGR of the open ground
    ground_noise: int
    patches: list[Patch] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
