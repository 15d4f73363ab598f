"""Assignment of detections to tracks. `Tracker._associate` computes the costs."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

Array = np.ndarray

GATE = 16.3
"""Squared Mahalanobis distance below which 99.9 % of the detections of an object lie (chi-square,
3 degrees of freedom)."""


def candidates(
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


def assign(
    shape: tuple[int, int], rows: Array, columns: Array, cost: Array, limit: float
) -> tuple[Array, Array]:
    """The assignment of tracks and detections with the lowest sum of costs.

    A pair with a cost above `limit` is not formed. In the sum it counts as `limit`.

    Args:
        shape: numbers of tracks and detections.
        rows, columns, cost: (P,) the possible pairs.

    Returns:
        Rows and columns of the pairs.
    """
    table = np.full(shape, limit)
    table[rows, columns] = np.minimum(cost, limit)
    rows, columns = linear_sum_assignment(table)
    formed = table[rows, columns] < limit
    return rows[formed], columns[formed]
