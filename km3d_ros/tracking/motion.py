"""Motion parameters of the filter for each class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Motion:
    """An object stands still, or has a constant velocity with random acceleration.

    still: probability that a new object stands still.
    acceleration: spectral density of the acceleration along the heading, m²/s³.
    slip: spectral density of the acceleration across the heading, m²/s³.
    turn: spectral density of the turn rate, rad²/s.
    forward: mean speed along the heading of a new object that moves, m/s.
    speed: standard deviation of this speed, m/s.
    drift: standard deviation of the speed across the heading of a new object, m/s.
    """

    still: float
    acceleration: float
    slip: float
    turn: float
    forward: float
    speed: float
    drift: float


VEHICLE = Motion(
    still=0.3, acceleration=4.0, slip=0.05, turn=0.01, forward=6.0, speed=6.0, drift=0.3
)
CYCLE = Motion(still=0.1, acceleration=0.5, slip=0.1, turn=0.05, forward=4.5, speed=2.0, drift=0.5)
PERSON = Motion(still=0.2, acceleration=0.2, slip=0.2, turn=0.5, forward=1.2, speed=0.5, drift=0.8)
ANYTHING = Motion(
    still=0.3, acceleration=1.0, slip=1.0, turn=0.5, forward=0.0, speed=5.0, drift=5.0
)

_MOTIONS = {
    "car": VEHICLE,
    "van": VEHICLE,
    "truck": VEHICLE,
    "bus": VEHICLE,
    "tram": VEHICLE,
    "cyclist": CYCLE,
    "bicycle": CYCLE,
    "motorcycle": CYCLE,
    "pedestrian": PERSON,
    "person": PERSON,
}


def motion_of(class_name: str) -> Motion:
    """The motion of a class; unknown classes may move in any direction.

    >>> motion_of("Car") is VEHICLE
    True
    """
    return _MOTIONS.get(class_name.lower(), ANYTHING)
