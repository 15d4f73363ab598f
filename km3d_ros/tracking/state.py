"""The tracks as arrays, so that each step of the filter treats all of them at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

Array = np.ndarray

SPEED = slice(3, 5)
"""Columns of the velocity in a state."""
RANGE = 5
"""Column of the relative error of the range in a state."""
STILL, MOVING = 0, 1
"""The two models of motion."""


@dataclass(frozen=True)
class Tracks:
    """N tracks; float64 unless stated, in the level frame of the tracker.

    A state is x, y, z, vx, vy and the relative error of the measured range.

    number: (N,) int64 identity, from 1 on, never used twice.
    means: (N, 2, 6) states, one for each model of motion.
    covariances: (N, 2, 6, 6) of them.
    weights: (N, 2) probabilities of the models.
    offset: (N, 3) from the sensor to the object, at the last detection.
    yaw: (N,) rotation of the box about z, radians, [-pi, pi).
    yaw_variance: (N,) if front and rear are not confused.
    forward: (N,) log-odds that the front is at `yaw` and not opposite.
    size: (N, 3) length, width, height. size_variance: (N, 3) of their logarithms.
    classes: (N, C) probabilities of the classes that the tracker has met.
    existence: (N,) log-odds that there is an object.
    detectability: (N,) probability that a sensor that looks there detects it.
    born, seen: (N,) times of the first and of the last detection, seconds.
    hits: (N,) int64 number of detections.
    """

    number: Array
    means: Array
    covariances: Array
    weights: Array
    offset: Array
    yaw: Array
    yaw_variance: Array
    forward: Array
    size: Array
    size_variance: Array
    classes: Array
    existence: Array
    detectability: Array
    born: Array
    seen: Array
    hits: Array

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, rows: Array) -> Tracks:
        """The tracks that an index array or a mask selects, as copies."""
        return Tracks(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def __add__(self, other: Tracks) -> Tracks:
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Tracks(**{name: np.concatenate(pair) for name, pair in pairs.items()})

    def put(self, rows: Array, tracks: Tracks) -> None:
        """Overwrite the tracks of an index array."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(tracks, f.name)

    @staticmethod
    def none(classes: int = 0) -> Tracks:
        """No tracks."""
        shapes = {
            "means": (2, 6),
            "covariances": (2, 6, 6),
            "weights": (2,),
            "offset": (3,),
            "size": (3,),
            "size_variance": (3,),
            "classes": (classes,),
        }
        whole = ("number", "hits")
        names = [f.name for f in fields(Tracks)]
        return Tracks(
            **{
                name: np.empty((0, *shapes.get(name, ())), np.int64 if name in whole else float)
                for name in names
            }
        )

    def best_classes(self) -> Array:
        """(N,) column of the most probable class of each track."""
        # argmax raises where no class was met yet.
        return self.classes.argmax(1) if len(self) else np.empty(0, np.int64)

    def mean(self) -> Array:
        """(N, 6) over both models of motion."""
        return np.einsum("nk,nks->ns", self.weights, self.means)

    def state(self) -> tuple[Array, Array]:
        """Mean (N, 6) and covariance (N, 6, 6) over both models of motion."""
        return mixture(self.weights, self.means, self.covariances)


def mixture(weights: Array, means: Array, covariances: Array) -> tuple[Array, Array]:
    """Mean (N, S) and covariance (N, S, S) of normal distributions with weights (N, K)."""
    mean = np.einsum("nk,nks->ns", weights, means)
    apart = means - mean[:, None]
    spread = covariances + apart[..., :, None] * apart[..., None, :]
    return mean, np.einsum("nk,nkst->nst", weights, spread)


def probability(log_odds: Array) -> Array:
    """The probabilities of log-odds."""
    return 1 / (1 + np.exp(-log_odds))
