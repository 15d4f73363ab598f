"""A drive along a street: one scene with a moving camera and moving actors.

The street bends, drivers accelerate, brake and do not keep exactly to the middle of their lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from km3d_ros.town import textures
from km3d_ros.town.crowd import Crowd
from km3d_ros.town.furniture import furnish
from km3d_ros.town.people import PHASES, cyclist, pedestrian
from km3d_ros.town.render import SIZE, TownFrame, render
from km3d_ros.town.sampling import ground_color, sample_film, sample_light, sample_view
from km3d_ros.town.scene import Actor, Light, Scene
from km3d_ros.town.street import Street, building_line, ground_patches, sample_blocks, sample_trees
from km3d_ros.town.walkers import person, rider

FOCAL = 0.75
"""Focal length of the drive's camera in image widths."""
EGO_SPEED = 7.0
"""Metres per second."""
AHEAD = 120.0
"""Metres of street beyond the last camera position."""
CURVATURE = 0.004
"""Standard deviation of the curvature of a street, 1/m, as in still frames."""
LARGEST_CURVATURE = 0.01
"""1/m. The radius is larger than the 60 m to which the crossing street reaches."""
ACCELERATION = {"vehicle": 1.0, "cyclist": 0.4}
"""Amplitude of the acceleration along the street, m/s²."""
WEAVING = {"vehicle": 0.2, "cyclist": 0.0}
"""Amplitude of the motion across the street, metres. The standard deviation is 0.14 m. That of
real drivers is about 0.2 m (J. C. Verster, T. Roth, 2011, doi 10.2147/IJGM.S19639)."""
PERIODS = (5.0, 8.0)
"""Range of the periods of these motions, seconds. With longer ones, vehicles would collide. A car
that overtakes a cyclist may touch it."""


@dataclass(frozen=True)
class Wave:
    """A deviation that is zero at time zero: a sine with an amplitude in metres."""

    amplitude: float = 0.0
    period: float = 1.0  # seconds
    phase: float = 0.0

    def at(self, time: float) -> tuple[float, float]:
        """Deviation in metres, and its speed in metres per second."""
        rate = 2 * np.pi / self.period
        angle = rate * time + self.phase
        shift = self.amplitude * (np.sin(angle) - np.sin(self.phase))
        return float(shift), float(self.amplitude * rate * np.cos(angle))


NO_DEVIATION = Wave()


@dataclass(frozen=True)
class Course:
    """Start position of an actor and its motion along the street."""

    actor: Actor
    s: float
    u: float
    speed: float  # mean, metres per second towards larger s
    person: tuple[str, int] | None = None  # kind and variant of a person with moving limbs
    along: Wave = NO_DEVIATION  # deviation along the street
    across: Wave = NO_DEVIATION  # deviation across it

    def at(self, time: float) -> tuple[float, float, float]:
        """Place s, u in metres after `time` seconds, and the turn from the street in radians.

        The turn is clockwise.
        """
        (ahead, change), (right, drift) = self.along.at(time), self.across.at(time)
        turn = np.arctan(drift / (self.speed + change)) if drift else 0.0
        return self.s + self.speed * time + ahead, self.u + right, float(turn)


def drive(
    seed: int,
    frames: int,
    rate: float = 10.0,
    width: int = SIZE[0],
    height: int = SIZE[1],
    focal: float = FOCAL,
) -> Iterator[TownFrame]:
    """Render the frames of one drive, `rate` per second.

    An object keeps its appearance, and a vehicle its size, from frame to frame.
    """
    rng = np.random.default_rng((seed, 2**32))
    motion = np.random.default_rng((seed, 2**33))
    curvature = float(np.clip(motion.normal(0, CURVATURE), -LARGEST_CURVATURE, LARGEST_CURVATURE))
    street = _street(rng, EGO_SPEED * frames / rate + AHEAD, curvature)
    ego = 0.5 * street.lane
    trees = sample_trees(street, rng)
    crowd = Crowd(street, rng)
    for tree in trees:
        if tree.trunk:
            crowd.reserve(tree.x, tree.z, 2 * tree.trunk, 2 * tree.trunk, 0.0)
    courses = [_with_driver(course, motion) for course in _moving(crowd, frames / rate)]
    courses += _standing(crowd)
    known = len(crowd.actors)
    furnish(crowd)
    film = sample_film(rng)
    scene = Scene(
        view=replace(sample_view(rng, street, ego), shift=(0.0, 0.0)),
        light=_daylight(rng),
        film=replace(film, motion=0, jpeg=0, gain=1.15, contrast=1.1, noise=0.08),
        ground=ground_color(rng, street),
        ground_noise=0,
        patches=ground_patches(street, rng),
        blocks=sample_blocks(street, rng),
        trees=trees,
        actors=crowd.actors[known:],
    )
    for k in range(frames):
        yield render(_at(scene, street, courses, ego, k / rate, k), width, height, focal)


def _street(rng: np.random.Generator, length: float, curvature: float) -> Street:
    return Street(
        kind="city" if rng.random() < 0.5 else "residential",
        side=1,
        curvature=curvature,
        lane=3.3,
        lanes=(1, 1),
        parking=("parallel", "parallel"),
        sidewalk=(2.6, 2.6),
        setback=(2.5, 1.5),
        junction=float(rng.uniform(60, 80)),
        crossing=5.0,
        length=length,
        start=-6.0,
    )


def _daylight(rng: np.random.Generator) -> Light:
    while True:
        light = sample_light(rng)
        if textures.sky_kind(light.sky) < 2:
            return light


def _course(actor: Actor | None, s: float, u: float, speed: float, who=None) -> list[Course]:
    return [] if actor is None else [Course(actor, s, u, speed, who)]


def _moving(crowd: Crowd, seconds: float) -> list[Course]:
    """Cars ahead of the ego, oncoming cars, cyclists and pedestrians."""
    street, rng = crowd.street, crowd.rng
    lane = street.lane
    courses = []
    # Each car ahead is faster than the one behind it, so that they do not collide.
    for s, speed in ((13.0, EGO_SPEED), (26.0, EGO_SPEED + 0.6), (44.0, EGO_SPEED + 1.0)):
        u = 0.5 * lane + rng.normal(0, 0.1)
        courses += _course(crowd.vehicle(s, u, 0.0, cars_only=True), s, u, speed)
    s = 20.0
    while s < (EGO_SPEED + 8) * seconds + 80:
        u = -0.5 * lane + rng.normal(0, 0.1)
        courses += _course(crowd.vehicle(s, u, np.pi), s, u, -8.0)
        s += rng.uniform(13, 26)
    for start, speed in ((9.0, 4.4), (34.0, 5.0)):
        courses += _walker(crowd, rider, "cyclist", start, lane - 0.45, speed)
    for _ in range(10):
        sign = rng.choice([-1, 1])
        kerb, line = street.kerb(sign > 0), building_line(street, sign > 0)
        start, pace = rng.uniform(8, 110), rng.choice([-1.3, 1.3]) * rng.uniform(0.8, 1.2)
        u = sign * rng.uniform(kerb + 0.9, line - 0.4)
        courses += _walker(crowd, person, "pedestrian", start, u, pace)
    return courses


def _with_driver(course: Course, rng: np.random.Generator) -> Course:
    """The course with the deviations of its driver or rider."""
    kind = course.person[0] if course.person else "vehicle"
    if kind not in ACCELERATION:
        return course
    periods, phases = rng.uniform(*PERIODS, 2), rng.uniform(0, 2 * np.pi, 2)
    reach = ACCELERATION[kind] * (periods[0] / (2 * np.pi)) ** 2, WEAVING[kind]
    along, across = (Wave(*wave) for wave in zip(reach, periods, phases, strict=True))
    return replace(course, along=along, across=across)


def _walker(crowd: Crowd, place, kind: str, s: float, u: float, speed: float) -> list[Course]:
    variant = int(crowd.rng.integers(12)) // 4 * 4
    actor = place(crowd, s, u, 0.0 if speed > 0 else np.pi)
    return _course(actor, s, u, speed, (kind, variant))


def _standing(crowd: Crowd) -> list[Course]:
    """Rows of parked vehicles."""
    street, rng = crowd.street, crowd.rng
    courses = []
    for sign in (1, -1):
        u = sign * (street.lane + 1.05)
        for s in np.arange(6.0, street.length, 6.2):
            clear = abs(s - street.junction) > street.crossing + 4
            if clear and rng.random() < 0.55:
                turn = 0.0 if sign > 0 else np.pi
                courses += _course(crowd.vehicle(s, u, turn), s, u, 0.0)
    return courses


def _at(scene: Scene, street: Street, courses, ego: float, time: float, frame: int) -> Scene:
    """The scene after `time` seconds."""
    x, z, heading = (float(value) for value in street.place(EGO_SPEED * time, ego))
    view = replace(scene.view.turned(heading), x=x, z=z)
    moved = [_moved(course, street, time) for course in courses]
    film = replace(scene.film, noise_index=frame % textures.NOISES)
    return replace(scene, view=view, film=film, actors=moved + scene.actors)


def _moved(course: Course, street: Street, time: float) -> Actor:
    s, u, turn = course.at(time)
    x, z, _ = (float(value) for value in street.place(s, u))
    bend = (s - course.s) * street.curvature
    actor = replace(course.actor, x=x, z=z, yaw=course.actor.yaw + bend + turn)
    if course.person is None:
        return actor
    kind, variant = course.person
    stride = 1.4 if kind == "pedestrian" else 5.0
    phase = int(abs(s) / stride * PHASES) % PHASES
    mesh = (pedestrian if kind == "pedestrian" else cyclist)(variant, phase)
    return replace(actor, mesh=mesh, size=tuple(float(v) for v in mesh.size))
