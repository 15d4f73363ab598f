"""The Kalman filter, for all tracks at once (docs/tracking.md, Filter).

The equations are in Y. Bar-Shalom, X. Li, T. Kirubarajan, Estimation with Applications to Tracking
and Navigation, chapters 5, 6, 10 and 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from km3d_ros.tracking.measurements import Measurements
from km3d_ros.tracking.motion import Motion
from km3d_ros.tracking.state import MOVING, RANGE, SPEED, STILL, Tracks, mixture

Array = np.ndarray

LASTING = 0.75
"""Part of the variance along the ray that is a lasting error: an object whose size is estimated
too large is measured too far away in every frame."""
LARGEST = 0.3
"""Largest standard deviation of the relative error of a range that lasts. The filter is linear in
it, which fails for larger ones."""
LASTING_LENGTH = 0.2
"""Change of the view of an object (`_view_change`) over which the lasting error of its range is
correlated."""
SHORT_LENGTH = 0.05
"""Change of the view over which the other errors are correlated. Two detections from nearly the
same view carry little more information than one."""
MOST_REPEATED = 8.0
"""Largest factor on a variance because of this correlation. The state changes, too: a long series
of equal detections is worth at least one new detection."""
FRESH_TIME = 30.0
"""Seconds after which a view that stays the same counts as another one: light and background
change."""
LEAST_INTERVAL = 0.05
"""Seconds. Detections of several cameras at one time count as if they had this interval."""
NEAREST = 0.1
"""Metres. The range of nearer objects is not divided by."""
CREEP = (0.003, 0.015)
"""Spectral densities of the random motion of objects that stand still and that move, m²/s. The
centre of a detected box also wanders on an object that stands still."""
CHANGE_TIME = 60.0
"""Mean time in seconds until a standing object starts to move, or a moving one stops."""
LIKELIHOOD_EXPONENT = 0.7
"""Exponent of the likelihoods of the models. It is below 1 because the errors of successive
detections are correlated."""
LEAST_WEIGHT = 1e-6
"""Least probability of a model of motion."""
CLASS_MEMORY = 0.9
"""Exponent of the earlier class probabilities at each detection. It is below 1 because a wrong
class persists over several frames."""
YAW_NOISE = 3.0
"""Factor on the variance of measured yaws, whose errors last for a few frames."""
SIZE_DEVIATION = 0.1
"""Standard deviation of the logarithm of a measured side."""
SIZE_NOISE = 4.0
"""Factor on this variance after the first measurement, because errors of the size last."""
FLIP_VOTE = 0.5
"""Log-odds that one measured yaw adds to its direction, against the opposite one."""
MOTION_VOTE = 1.0
"""Log-odds that clear motion adds to its direction, against the opposite one."""
SLOW = 0.5
"""Speed in m/s below which motion says little about the direction of an object."""
SURE = 6.0
"""Limit of the log-odds of the direction."""


def predict(tracks: Tracks, motions: Sequence[Motion], seconds: float) -> None:
    """Move the tracks ahead in time, in place.

    motions: of every class of the tracker.
    """
    _mix(tracks, seconds)
    along, across = _axes(tracks.yaw)
    parameters = np.array([(m.acceleration, m.slip, m.turn) for m in motions]).reshape(-1, 3)
    acceleration, slip, turn = parameters[tracks.best_classes()].T
    density = _outer(along) * acceleration[:, None, None] + _outer(across) * slip[:, None, None]
    step = np.eye(6)
    step[[0, 1], [3, 4]] = seconds
    tracks.means[:] = tracks.means @ step.T
    covariances = step @ tracks.covariances @ step.T
    moving = covariances[:, MOVING]
    moving[:, :2, :2] += density * seconds**3 / 3
    moving[:, :2, SPEED] += density * seconds**2 / 2
    moving[:, SPEED, :2] += density * seconds**2 / 2
    moving[:, SPEED, SPEED] += density * seconds
    covariances[:, :, [0, 1, 2], [0, 1, 2]] += np.array(CREEP)[:, None] * seconds
    tracks.covariances[:] = covariances
    tracks.yaw_variance[:] += turn * seconds


def _mix(tracks: Tracks, seconds: float) -> None:
    """The mixing step of the interacting multiple model filter, Bar-Shalom et al., 11.6.6."""
    change = 0.5 * (1 - np.exp(-2 * seconds / CHANGE_TIME))
    switch = np.array([[1 - change, change], [change, 1 - change]])
    joint = tracks.weights[:, :, None] * switch
    weights = joint.sum(1)
    means, covariances = tracks.means.copy(), tracks.covariances.copy()
    for model in (STILL, MOVING):
        share = joint[:, :, model] / weights[:, model, None]
        mean, covariance = mixture(share, means, covariances)
        if model == STILL:
            mean[:, SPEED] = 0
            covariance[:, SPEED] = covariance[:, :, SPEED] = 0
        tracks.means[:, model], tracks.covariances[:, model] = mean, covariance
    tracks.weights[:] = weights


def split(measured: Measurements) -> tuple[Array, Array]:
    """Split the errors of measured positions into short-lived and lasting errors.

    Returns:
        (M, 3, 3) covariances of the short-lived errors, and (M,) variances of the lasting relative
        error of the range.
    """
    offset = measured.position - measured.origin
    distance = np.linalg.norm(offset, axis=1)
    # An object at the sensor has no direction: any one will do.
    ray = np.where((distance < NEAREST)[:, None], (1.0, 0.0, 0.0), offset)
    ray /= np.linalg.norm(ray, axis=1)[:, None]
    distance = np.maximum(distance, NEAREST)
    information = np.linalg.inv(measured.covariance)
    # The largest part along the ray that leaves a covariance behind.
    along = LASTING / np.einsum("ni,nij,nj->n", ray, information, ray)
    along = np.minimum(along, (LARGEST * distance) ** 2)
    white = measured.covariance - _outer(ray) * along[:, None, None]
    return white, along / distance**2


def measurement_model(means: Array, origin: Array, age: float) -> tuple[Array, Array]:
    """Expected measurements (..., 3) of states (..., 6), and their Jacobians (..., 3, 6).

    The measured position is origin + (1 + e) (p - origin), where e is the relative error of the
    range, and p the position `age` seconds ago.
    """
    past = means[..., :3].copy()
    past[..., :2] -= age * means[..., SPEED]
    ray = past - origin
    stretch = 1 + means[..., RANGE]
    jacobian = np.zeros((*means.shape[:-1], 3, 6))
    jacobian[..., [0, 1, 2], [0, 1, 2]] = stretch[..., None]
    jacobian[..., [0, 1], [3, 4]] = -age * stretch[..., None]
    jacobian[..., :, RANGE] = ray
    return origin + stretch[..., None] * ray, jacobian


def update(
    tracks: Tracks, measured: Measurements, now: float, age: float, likelihoods: Array
) -> None:
    """Correct N tracks with one detection each, in place.

    now: time of the tracks, seconds.
    age: how much older the detections are than the tracks, seconds.
    likelihoods: (N, C) probabilities of the detected class, for each true class.
    """
    white, range_variance = split(measured)
    change = _view_change(tracks, measured.origin, now, age)
    _change_range_error(tracks, np.exp(-change / LASTING_LENGTH), range_variance)
    # A long series of values with the correlation c between neighbours gives as much information
    # as independent ones with (1 + c) / (1 - c) times their variance.
    same = np.exp(-change / SHORT_LENGTH)
    noise = white * np.minimum((1 + same) / (1 - same), MOST_REPEATED)[:, None, None]
    predicted, jacobian = measurement_model(tracks.means, measured.origin, age)
    cross = tracks.covariances @ _transposed(jacobian)
    innovation = jacobian @ cross + noise[:, None]
    gain = _transposed(np.linalg.solve(innovation, _transposed(cross)))
    difference = measured.position[:, None] - predicted
    tracks.means[:] += (gain @ difference[..., None])[..., 0]
    error = tracks.means[..., RANGE]
    np.clip(error, -2 * LARGEST, 2 * LARGEST, out=error)
    covariances = tracks.covariances - gain @ innovation @ _transposed(gain)
    tracks.covariances[:] = (covariances + _transposed(covariances)) / 2
    fit = np.exp(
        -0.5 * LIKELIHOOD_EXPONENT * np.minimum(negative_log(difference, innovation), 60.0)
    )
    weights = np.maximum(tracks.weights * fit, 1e-30)
    tracks.weights[:] = np.maximum(weights / weights.sum(1, keepdims=True), LEAST_WEIGHT)
    tracks.weights[:] /= tracks.weights.sum(1, keepdims=True)
    tracks.offset[:] = _offset(tracks, measured.origin, age)
    _update_yaw(tracks, measured)
    _update_size(tracks, measured)
    classes = tracks.classes**CLASS_MEMORY * likelihoods
    tracks.classes[:] = classes / classes.sum(1, keepdims=True)


def _offset(tracks: Tracks, origin: Array, age: float) -> Array:
    """(N, 3) from the sensor to the objects, `age` seconds ago."""
    mean = tracks.mean()
    offset = mean[:, :3] - origin
    offset[:, :2] -= age * mean[:, SPEED]
    return offset


def _view_change(tracks: Tracks, origin: Array, now: float, age: float) -> Array:
    """(N,) how much the views of the objects changed since their last detections.

    It is the change of the offset from the sensor as a share of the distance. Detections of an
    object that keeps its place in the image have the same error in every frame.
    """
    offset = _offset(tracks, origin, age)
    distance = np.maximum(np.linalg.norm(offset, axis=1), NEAREST)
    moved = np.linalg.norm(offset - tracks.offset, axis=1) / distance
    return moved + np.maximum(now - age - tracks.seen, LEAST_INTERVAL) / FRESH_TIME


def _change_range_error(tracks: Tracks, kept: Array, variance: Array) -> None:
    """Replace a part of the lasting errors of the range by new ones.

    kept: (N,) correlation of the errors before and after. variance: (N,) of the new errors.
    """
    tracks.means[..., RANGE] *= kept[:, None]
    tracks.covariances[..., RANGE] *= kept[:, None, None]
    tracks.covariances[..., RANGE, :] *= kept[:, None, None]
    tracks.covariances[..., RANGE, RANGE] += ((1 - kept**2) * variance)[:, None]


def negative_log(difference: Array, covariance: Array) -> Array:
    """d' C^-1 d + log det C: twice the negative logarithm of normal densities, up to a constant.

    difference: (..., 3). covariance: (..., 3, 3).
    """
    solved = np.linalg.solve(covariance, difference[..., None])[..., 0]
    return (difference * solved).sum(-1) + np.linalg.slogdet(covariance)[1]


def _update_yaw(tracks: Tracks, measured: Measurements) -> None:
    """Correct axis and direction. A measured yaw that is wrong by pi still corrects the axis."""
    difference = wrap(measured.yaw - tracks.yaw)
    same = np.abs(difference) <= np.pi / 2
    difference = np.where(same, difference, wrap(difference + np.pi))
    noise = YAW_NOISE * measured.yaw_variance
    gain = tracks.yaw_variance / (tracks.yaw_variance + noise)
    tracks.yaw[:] = wrap(tracks.yaw + gain * difference)
    tracks.yaw_variance[:] *= 1 - gain
    # A measurement that may point anywhere has no vote.
    vote = FLIP_VOTE / (1 + measured.yaw_variance)
    votes = np.where(same, vote, -vote) + MOTION_VOTE * _ahead(tracks)
    tracks.forward[:] = np.clip(tracks.forward + votes, -SURE, SURE)
    flipped = tracks.forward < 0
    tracks.yaw[flipped] = wrap(tracks.yaw[flipped] + np.pi)
    tracks.forward[flipped] *= -1


def _ahead(tracks: Tracks) -> Array:
    """(N,) from 1 (moves towards its front) over 0 (not known) to -1 (towards its rear)."""
    along, _ = _axes(tracks.yaw)
    speed = (tracks.means[:, MOVING, SPEED] * along).sum(-1)
    covariance = tracks.covariances[:, MOVING, SPEED, SPEED]
    variance = np.einsum("ni,nij,nj->n", along, covariance, along) + SLOW**2
    return tracks.weights[:, MOVING] * np.tanh(speed / np.sqrt(variance))


def _update_size(tracks: Tracks, measured: Measurements) -> None:
    noise = SIZE_NOISE * SIZE_DEVIATION**2
    gain = tracks.size_variance / (tracks.size_variance + noise)
    tracks.size[:] *= (measured.size / tracks.size) ** gain
    tracks.size_variance[:] *= 1 - gain


def born(measured: Measurements, motions: Sequence[Motion], classes: Array, now: float) -> Tracks:
    """A track for each of N detections.

    motions: of each detection. classes: (N, C) probabilities of their classes.
    """
    count = len(measured)
    white, range_variance = split(measured)
    ray = measured.position - measured.origin
    mean = np.zeros((count, 6))
    mean[:, :3] = measured.position
    covariance = np.zeros((count, 6, 6))
    covariance[:, :3, :3] = white + _outer(ray) * range_variance[:, None, None]
    # The position was measured with the error of the range, so both are correlated.
    covariance[:, :3, RANGE] = covariance[:, RANGE, :3] = -ray * range_variance[:, None]
    covariance[:, RANGE, RANGE] = range_variance
    along, across = _axes(measured.yaw)
    spread = np.array([(m.speed, m.drift) for m in motions]).reshape(-1, 2) ** 2
    # A yaw that may be wrong says less about where the object goes.
    sine = np.minimum(measured.yaw_variance, 1.0)
    along_variance = (1 - sine) * spread[:, 0] + sine * spread[:, 1]
    across_variance = (1 - sine) * spread[:, 1] + sine * spread[:, 0]
    covariance[:, SPEED, SPEED] = (
        _outer(along) * along_variance[:, None, None]
        + _outer(across) * across_variance[:, None, None]
    )
    means = np.stack([mean, mean], 1)
    forward = np.array([m.forward for m in motions]).reshape(-1)
    means[:, MOVING, SPEED] = along * ((1 - sine) * forward)[:, None]
    covariances = np.stack([covariance, covariance], 1)
    covariances[:, STILL, SPEED, SPEED] = 0
    still = np.array([m.still for m in motions]).reshape(-1)
    return Tracks(
        number=np.zeros(count, np.int64),
        means=means,
        covariances=covariances,
        weights=np.stack([still, 1 - still], 1),
        offset=ray,
        yaw=measured.yaw.copy(),
        yaw_variance=measured.yaw_variance.copy(),
        forward=FLIP_VOTE / (1 + measured.yaw_variance),
        size=measured.size.copy(),
        size_variance=np.full((count, 3), SIZE_DEVIATION**2),
        classes=classes,
        existence=np.zeros(count),
        detectability=np.zeros(count),
        born=np.full(count, now),
        seen=np.full(count, now),
        hits=np.ones(count, np.int64),
    )


def wrap(angle: Array) -> Array:
    """The angle in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _axes(yaw: Array) -> tuple[Array, Array]:
    """Unit vectors (N, 2) along and across the heading."""
    along = np.stack([np.cos(yaw), np.sin(yaw)], -1)
    return along, np.stack([-along[:, 1], along[:, 0]], -1)


def _transposed(matrices: Array) -> Array:
    return matrices.swapaxes(-1, -2)


def _outer(vectors: Array) -> Array:
    return vectors[:, :, None] * vectors[:, None, :]
