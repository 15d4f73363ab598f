"""What a Town scene consists of. World: x right, z forward, metres on a flat map; height up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from km3d_ros.town.meshes import Mesh

Array = np.ndarray


@dataclass(frozen=True)
class Light:
    """Sun, sky and air; colours are linear BGR."""

    sun: Array
    """(3,): unit vector to the sun in world x, up, z."""
    sun_color: Array
    sky_color: Array
    sky: int
    horizon: int
    shift: float
    """Where the panoramas of sky and horizon start, 0 to 1."""
    haze: float
    """Part of the light lost per metre."""


@dataclass(frozen=True)
class View:
    """The camera over the street. The road is tilted, never the camera."""

    x: float
    z: float
    heading: float
    """Clockwise from world z, radians."""
    height: float
    slope: float
    """Fall of the road per metre ahead."""
    bank: float
    """Fall of the road per metre to the right."""
    focal: float
    """In image widths."""
    shift: tuple[float, float]
    """Principal point from the image centre, in image widths."""


@dataclass(frozen=True)
class Film:
    """What camera and file do to the picture."""

    gain: float
    balance: tuple[float, float, float]
    contrast: float
    vignette: float
    blur: float
    motion: int
    noise: float
    noise_index: int
    jpeg: int
    """Quality of an extra JPEG pass; 0 for none."""


@dataclass(frozen=True)
class Actor:
    """Something with a mesh: an object to be found, or a prop (`class_name` None)."""

    class_name: str | None
    mesh: Mesh
    size: tuple[float, float, float]
    """Length, width, height of the 3D box."""
    x: float
    z: float
    yaw: float
    """KITTI's rotation_y in the world."""
    palette: Array
    """(slots, 3) linear BGR."""


@dataclass(frozen=True)
class Block:
    """A building, wall or hedge: an upright textured box."""

    x: float
    z: float
    heading: float
    half: tuple[float, float]
    """Half extents across and along its heading."""
    height: float
    kind: str
    """facade, shop (a facade over shops), garage or foliage; anything else is plain."""
    texture: int
    tint: Array
    """(3,) linear BGR."""
    roof: float
    """Height of a gabled roof; 0 for a flat one."""
    roof_color: Array


@dataclass(frozen=True)
class Tree:
    """A sprite of leaves, on a trunk or as a bush."""

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

    outline: Array
    """(n, 2): world x, z."""
    color: Array
    """(3,) linear BGR."""


@dataclass(frozen=True)
class Scene:
    """Everything that a frame shows."""

    view: View
    light: Light
    film: Film
    ground: Array
    """(3,) linear BGR of the open ground."""
    ground_noise: int
    patches: list[Patch] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
