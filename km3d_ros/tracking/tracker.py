"""The tracker: from detections to objects with ids and velocities (docs/tracking.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from km3d_ros.tracking import filter as kalman
from km3d_ros.tracking.association import associate
from km3d_ros.tracking.ground import Ground
from km3d_ros.tracking.measurements import Measurements, without_prior
from km3d_ros.tracking.motion import Motion, motion_of
from km3d_ros.tracking.state import Tracks, probability
from km3d_ros.tracking.view import View

Array = np.ndarray

LATEST = 0.3
"""Seconds by which detections may be older than the newest ones."""
LONGEST_GAP = 2.0
"""Seconds without detections after which tracking starts again."""
CONFUSION = 0.05
"""Probability that a detector names another class than the true one."""
LIFETIME = 5.0
"""Mean time in seconds that an undetected object stays in the scene."""
BIRTH = 0.7
"""A new track has the log-odds of the score of its detection, plus this number."""
HIT = 1.3
"""A further detection adds the log-odds of its score, plus this number."""
LEAST_HIT = 0.2
"""Smallest log-odds that a further detection adds, because clutter rarely repeats at one place."""
SURE = 5.0
"""Limit of the log-odds of existence."""
DELETED = -2.0
"""Log-odds of existence below which a track is deleted."""
DETECTABILITY = 0.8
"""Probability that a new object is detected again in the next image."""
LEARNING = 0.1
"""Weight of the newest image in the moving average of this probability."""
LEAST_SCORE = 0.01
MOST_CLASSES = 100
"""Number of classes from which on those that no track has are forgotten."""


@dataclass(frozen=True)
class Counts:
    """Counts since the start.

    steps: images.
    late: images that were too old, and left out.
    out_of_order: images that were older than the newest one, but used.
    duplicates: detections at the place of another object of the same image, which were left out.
    restarts: restarts after a gap in time.
    """

    steps: int = 0
    late: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    restarts: int = 0


class _Sensor:
    """What is known about a sensor: where it looks, and the ground below it."""

    def __init__(self) -> None:
        self.view, self.ground = View(), Ground()
        self._newest = -np.inf

    def on_ground(self, measured: Measurements, time: float, plane: Array | None) -> Measurements:
        """The detections, corrected by the ground. plane: as in `Tracker.step`."""
        seconds = min(max(time - self._newest, 0.0), LONGEST_GAP)
        self._newest = max(time, self._newest)
        self.ground.predict(seconds, plane)
        corrected = self.ground.correct(measured)
        if seconds:
            self.ground.learn(measured, seconds)
        return corrected


class Tracker:
    """Tracks objects in a level frame.

    class_names: of the columns of `Tracks.classes`, in the order of their first detection.
    counts: counts since the start.
    """

    def __init__(self) -> None:
        self.class_names: list[str] = []
        self.counts = Counts()
        self._motions: list[Motion] = []
        self._next = 1
        self.restart()

    def restart(self) -> None:
        """Forget the tracks. Their ids are not used again."""
        self._tracks = Tracks.none(len(self.class_names))
        self._time: float | None = None
        self._sensors: dict[str, _Sensor] = {}

    @property
    def time(self) -> float | None:
        """The time of the newest detections, seconds; None before the first."""
        return self._time

    def contradicts_mount(self, sensor: str) -> bool:
        """Whether the detections of a sensor did not stand on its plane."""
        return sensor in self._sensors and self._sensors[sensor].ground.contradicts_mount

    def objects(self, existence: float = 0.5) -> Tracks:
        """The tracks that exist with at least this probability."""
        return self._tracks[self._tracks.existence >= _logit(existence)]

    def step(
        self,
        measured: Measurements,
        time: float,
        sensor: str = "",
        plane: Array | None = None,
    ) -> bool:
        """Update the tracks with all detections of one image.

        Args:
            measured: the detections; there may be none.
            time: of the image, seconds.
            sensor: name of the sensor. Tracks in its field of view that it does not detect lose
                existence.
            plane: (3,) of the ground by the mount of the sensor: z = a + b x + c y, relative to
                the sensor, in the level frame; a in metres, b and c in metres per metre. None:
                the ground is learned from the detections.

        Returns:
            False if the image is too old and was left out.
        """
        self._count(steps=1)
        now = time if self._time is None else max(time, self._time)
        age = now - time
        if age > LATEST:
            self._count(late=1)
            return False
        if self._time is not None and now - self._time > LONGEST_GAP:
            self._count(restarts=1)
            self.restart()
        self._predict(now)
        seen_by = self._sensors.setdefault(sensor, _Sensor())
        measured = seen_by.on_ground(without_prior(measured), time, plane)
        likelihoods = self._class_likelihoods(measured.class_names)
        rows, columns = associate(self._tracks, measured, age, likelihoods)
        self._update(rows, measured[columns], age, likelihoods[columns])
        if age > 0:
            self._count(out_of_order=1)
        else:
            self._miss(rows, measured, seen_by.view)
        others = np.setdiff1d(np.arange(len(measured)), columns)
        self._start(rows, measured[others], likelihoods[others])
        self._tracks = self._tracks[self._tracks.existence >= DELETED]
        if len(self.class_names) > MOST_CLASSES:
            self._forget_classes()
        return True

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self.counts, name) + number for name, number in more.items()}
        self.counts = replace(self.counts, **counts)

    def _predict(self, now: float) -> None:
        if self._time is not None and now > self._time and len(self._tracks):
            seconds, tracks = now - self._time, self._tracks
            kalman.predict(tracks, self._motions, seconds)
            # The object may have left the scene.
            left = -np.expm1(-seconds / LIFETIME)
            tracks.existence[:] = _logit((1 - left) * probability(tracks.existence))
        self._time = now

    def _class_likelihoods(self, names: Sequence[str]) -> Array:
        """(M, C): of the names of the detections, for each true class."""
        for name in dict.fromkeys(names):
            if name not in self.class_names:
                self.class_names.append(name)
                self._motions.append(motion_of(name))
                new = np.full((len(self._tracks), 1), CONFUSION)
                classes = np.hstack([self._tracks.classes * (1 - CONFUSION), new])
                self._tracks = replace(self._tracks, classes=classes)
        count = len(self.class_names)
        likelihoods = np.full((len(names), count), CONFUSION / max(count - 1, 1))
        likelihoods[np.arange(len(names)), [self.class_names.index(name) for name in names]] = (
            1 - CONFUSION
        )
        return likelihoods

    def _forget_classes(self) -> None:
        """Keep the classes that are the most probable ones of a track."""
        kept = np.unique(self._tracks.best_classes())
        self.class_names = [self.class_names[column] for column in kept]
        self._motions = [self._motions[column] for column in kept]
        classes = self._tracks.classes[:, kept]
        classes /= classes.sum(1, keepdims=True)
        self._tracks = replace(self._tracks, classes=classes)

    def _update(self, rows: Array, measured: Measurements, age: float, likelihoods: Array) -> None:
        tracks = self._tracks[rows]
        kalman.update(tracks, measured, self._time, age, likelihoods)
        gain = np.maximum(HIT + _logit(measured.score), LEAST_HIT)
        tracks.existence[:] = np.minimum(tracks.existence + gain, SURE)
        tracks.detectability[:] += LEARNING * (1 - tracks.detectability)
        tracks.seen[:] = np.maximum(tracks.seen, self._time - age)
        tracks.hits[:] += 1
        self._tracks.put(rows, tracks)

    def _miss(self, rows: Array, measured: Measurements, view: View) -> None:
        """Lower the existence of the tracks in view that were not detected."""
        tracks = self._tracks
        view.add(measured.position - measured.origin, measured.rotation)
        offset = tracks.mean()[:, :3] - measured.origin
        missed = view.contains(offset, measured.rotation)
        missed[rows] = False
        doubt = np.log1p(-tracks.detectability[missed])
        tracks.existence[missed] += doubt
        tracks.detectability[missed] *= 1 - LEARNING

    def _start(self, rows: Array, measured: Measurements, likelihoods: Array) -> None:
        """Start tracks with the detections of no track, but not with duplicates."""
        taken = self._tracks[rows]
        order = np.argsort(-measured.score, kind="stable")
        places = np.concatenate([taken.mean()[:, :2], measured.position[order, :2]])
        widths = np.concatenate([taken.size[:, 1], measured.size[order, 1]])
        known = len(taken)
        apart = np.linalg.norm(places[known:, None] - places, axis=-1)
        # Two solid objects cannot be nearer than half their widths.
        overlap = np.tril(apart < (widths[known:, None] + widths) / 4, known - 1)
        duplicate = overlap.any(1)
        new = order[~duplicate]
        self._count(duplicates=int(duplicate.sum()))
        if not len(new):
            return
        measured, likelihoods = measured[new], likelihoods[new]
        motions = [motion_of(name) for name in measured.class_names]
        classes = likelihoods / likelihoods.sum(1, keepdims=True)
        tracks = kalman.born(measured, motions, classes, self._time)
        tracks.existence[:] = np.minimum(BIRTH + _logit(measured.score), SURE)
        tracks.detectability[:] = DETECTABILITY
        tracks.number[:] = np.arange(self._next, self._next + len(new))
        self._next += len(new)
        self._tracks = self._tracks + tracks


def _logit(probability: Array | float) -> Array:
    clipped = np.clip(probability, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.log(clipped / (1 - clipped))
