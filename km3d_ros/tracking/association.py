"""Which detection belongs to which track."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from km3d_ros.tracking.filter import measurement_model, negative_log, split
from km3d_ros.tracking.measurements import Measurements
from km3d_ros.tracking.state import Tracks

Array = np.ndarray

GATE = 16.3
"""Squared Mahalanobis distance below which 99.9 % of the detections of an object lie (chi-square,
3 degrees of freedom)."""
MATCH_LIMIT = 20.0
"""Cost above which a detection and a track do not belong together."""


def associate(
    tracks: Tracks, measured: Measurements, age: float, likelihoods: Array
) -> tuple[Array, Array]:
    """The assignment of N tracks and M detections with the lowest sum of costs.

    The cost of a pair is its squared Mahalanobis distance, plus the log-determinant of the
    covariance, minus twice the logarithm of the probability of the class. Pairs outside `GATE` or
    with a cost above `MATCH_LIMIT` are not formed.

    Args:
        measured: of one sensor at one time, `age` seconds before the time of the tracks.
        likelihoods: (M, C) of the detected class, for each true class.

    Returns:
        Rows of the tracks and columns of their detections.
    """
    mean, covariance = tracks.state()
    predicted, jacobian = measurement_model(mean, measured.origin, age)
    spread = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    white, _ = split(measured)
    rows, columns = _candidates(predicted, spread, measured.position, white)
    difference = measured.position[columns] - predicted[rows]
    together = spread[rows] + white[columns]
    cost = negative_log(difference, together)
    near = cost - np.linalg.slogdet(together)[1] <= GATE
    cost -= 2 * np.log((tracks.classes[rows] * likelihoods[columns]).sum(1))
    table = np.full((len(tracks), len(measured)), MATCH_LIMIT)
    table[rows[near], columns[near]] = np.minimum(cost[near], MATCH_LIMIT)
    rows, columns = linear_sum_assignment(table)
    formed = table[rows, columns] < MATCH_LIMIT
    return rows[formed], columns[formed]


def _candidates(
    predicted: Array, spread: Array, measured: Array, noise: Array
) -> tuple[Array, Array]:
    """Pairs (rows, columns) that may be in the gate: a fast test that excludes distant pairs.

    predicted: (N, 3) positions with covariances `spread` (N, 3, 3).
    measured: (M, 3) positions with covariances `noise` (M, 3, 3).
    """
    distance = ((predicted[:, None] - measured) ** 2).sum(-1)
    # The trace is not less than the largest variance.
    reach = np.trace(spread, axis1=1, axis2=2)[:, None] + np.trace(noise, axis1=1, axis2=2)
    return np.nonzero(distance <= GATE * reach)
