"""Detections as the tracker takes them: checked, in a level frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

Array = np.ndarray

DEFAULT_POSITION = 0.05
"""Standard deviation of a position without covariance, as a share of the distance."""
DEFAULT_YAW = 0.3
"""Standard deviation of a yaw without covariance, radians."""
LEAST_DEVIATION = 0.03
"""Metres and radians. It is added to all standard deviations (as variance): a detection with a
variance of 0 would outweigh all later ones."""
FARTHEST = 1e4
"""Metres. Farther or larger objects make no sense."""
WIDEST = 1e3
"""Metres and radians. A covariance with a larger standard deviation says nothing, and the filter
could not tell it from a singular one."""
USUAL_DISTANCE = 25.0
"""Geometric mean of the distances of objects that are detected, metres."""
DISTANCE_SPREAD = 0.57
"""Standard deviation of the logarithm of these distances."""
RANGE_VARIANCE = 1.4
"""Factor on the variance along the ray. It was chosen on drives through Town: with it, the
published positions are the most accurate, and their covariances fit the errors."""


@dataclass(frozen=True)
class Measurements:
    """N detections of one sensor at one time; float64.

    The frame is level: z points up. Boxes stand upright.

    class_names: N names.
    score: (N,) 0 to 1.
    position: (N, 3) centre of the box in metres.
    covariance: (N, 3, 3) of the position.
    yaw: (N,) of the box's x axis, counterclockwise about z, radians.
    yaw_variance: (N,).
    size: (N, 3) length, width, height in metres.
    origin: (3,) where the sensor is. rotation: (3, 3) from its frame into the level frame.
    """

    class_names: Sequence[str]
    score: Array
    position: Array
    covariance: Array
    yaw: Array
    yaw_variance: Array
    size: Array
    origin: Array
    rotation: Array

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: Array) -> Measurements:
        """The detections of an index array, of the same sensor."""
        return Measurements(
            [self.class_names[row] for row in rows],
            *(getattr(self, f.name)[rows] for f in fields(self)[1:-2]),
            self.origin,
            self.rotation,
        )


@dataclass(frozen=True)
class Faults:
    """Numbers of detections with a fault.

    rejected: position, rotation, size or score are invalid; the detection is left out.
    covariance: the covariance was missing or invalid, and was replaced.
    """

    rejected: int = 0
    covariance: int = 0

    def __add__(self, other: Faults) -> Faults:
        return Faults(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Boxes:
    """N detections as a message has them, in the frame of its header.

    class_names: N names.
    score: (N,). position: (N, 3). quaternion: (N, 4) x, y, z, w of the box frame
    (x along the length, y along the width, z up). size: (N, 3). covariance: (N, 6, 6) of x, y, z
    and the rotations about the header's axes; a block of zeros is a missing covariance.
    """

    class_names: Sequence[str]
    score: Array
    position: Array
    quaternion: Array
    size: Array
    covariance: Array


def level_measurements(
    boxes: Boxes, rotation: Array, translation: Array
) -> tuple[Measurements, Faults]:
    """Detections in a level frame, without the invalid ones.

    Args:
        boxes: the detections.
        rotation: (3, 3) from the frame of the detections into the level frame.
        translation: (3,) of the sensor in the level frame.
    """
    turns, upright = _rotations(boxes.quaternion)
    size, score = boxes.size, boxes.score
    with np.errstate(invalid="ignore"):
        kept = (
            upright
            & (np.abs(boxes.position) < FARTHEST).all(1)
            & ((size > 0) & (size < FARTHEST)).all(1)
            & (score >= 0)
            & (score <= 1)
        )
    rows = np.flatnonzero(kept)
    turned = rotation @ turns[rows]
    offset = boxes.position[rows] @ rotation.T
    position, yaw, replaced = _covariances(boxes.covariance[rows], offset, rotation)
    measured = Measurements(
        [boxes.class_names[row] for row in rows],
        score[rows],
        offset + translation,
        position,
        np.arctan2(turned[:, 1, 0], turned[:, 0, 0]),
        yaw,
        size[rows],
        np.asarray(translation, float),
        np.asarray(rotation, float),
    )
    return measured, Faults(len(kept) - len(rows), int(replaced.sum()))


def _rotations(quaternion: Array) -> tuple[Array, Array]:
    """(N, 3, 3) rotations, and which quaternions (N,) are some."""
    with np.errstate(all="ignore"):
        norm = np.linalg.norm(quaternion, axis=1)
        valid = np.isfinite(norm) & (norm > 1e-3)
        unit = np.where(valid[:, None], quaternion / norm[:, None], (0.0, 0.0, 0.0, 1.0))
    return rotation_matrices(unit), valid


def rotation_matrices(quaternion: Array) -> Array:
    """(..., 3, 3) rotations of unit quaternions (..., 4) x, y, z, w."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, float), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _covariances(covariance: Array, offset: Array, rotation: Array) -> tuple[Array, Array, Array]:
    """Position covariances (N, 3, 3), yaw variances (N,), and which (N,) were replaced."""
    position, bad_position = _checked(covariance[:, :3, :3])
    turn, bad_turn = _checked(covariance[:, 3:, 3:])
    distance = np.linalg.norm(offset, axis=1)
    default = (DEFAULT_POSITION * distance) ** 2 + LEAST_DEVIATION**2
    position = np.where(bad_position[:, None, None], default[:, None, None] * np.eye(3), position)
    position = rotation @ position @ rotation.T + LEAST_DEVIATION**2 * np.eye(3)
    # The box stands upright: its other two rotations are known to be zero. The variance of the yaw
    # under this condition is the inverse of its entry in the information matrix.
    turn[bad_turn] = np.eye(3)
    information = np.linalg.inv(turn + 1e-6 * np.eye(3))
    up = rotation[2]
    yaw = 1 / np.einsum("i,nij,j->n", up, information, up)
    yaw = np.where(bad_turn, DEFAULT_YAW**2, yaw) + LEAST_DEVIATION**2
    return position, yaw, bad_position | bad_turn


def _checked(blocks: Array) -> tuple[Array, Array]:
    """Symmetric blocks (N, 3, 3), and which (N,) are no covariance: of zeros, or beyond `WIDEST`,
    or with a negative variance in some direction."""
    with np.errstate(all="ignore"):
        finite = (np.abs(blocks) < WIDEST**2).all((1, 2))
        blocks = np.where(finite[:, None, None], blocks, 0.0)
        blocks = (blocks + blocks.transpose(0, 2, 1)) / 2
        values = np.linalg.eigvalsh(blocks)
    bad = ~finite | (values[:, 2] <= 0) | (values[:, 0] < -1e-6 * values[:, 2])
    return blocks, bad


def without_prior(measured: Measurements) -> Measurements:
    """The distances that the images alone suggest, their variances times `RANGE_VARIANCE`.

    A detector that learned distances reports the mean of what the image and the distances of its
    training objects suggest. The less it sees, the nearer that is to their usual distance: far
    objects seem too near. A tracker needs the information of the image alone. In the logarithm of
    the distance, all of these are taken as normal distributions.
    """
    offset = measured.position - measured.origin
    distance = np.maximum(np.linalg.norm(offset, axis=1), LEAST_DEVIATION)
    ray = offset / distance[:, None]
    variance = np.einsum("ni,nij,nj->n", ray, measured.covariance, ray) / distance**2
    # Part of the information that is from the prior; half at most, as the rest is subtracted.
    prior = np.minimum(variance / DISTANCE_SPREAD**2, 0.5)
    stretch = (distance / USUAL_DISTANCE) ** (prior / (1 - prior))
    factor = stretch * np.sqrt(RANGE_VARIANCE / (1 - prior))
    along = (factor - 1)[:, None, None] * ray[:, :, None] * ray[:, None]
    scale = np.eye(3) + along
    return replace(
        measured,
        position=measured.origin + offset * stretch[:, None],
        covariance=scale @ measured.covariance @ scale,
    )
