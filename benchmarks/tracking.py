"""Tracks against raw detections and AB3DMOT's recipe: `python benchmarks/tracking.py`.

Drives through Town that no constant of the tracker was chosen on, with a moving camera and exact
truth. The first run renders and detects them (10 s a drive) and keeps the detections in --cache.
trackeval computes HOTA, IDF1 and identity switches. Install it without its dependencies, which
replace OpenCV: `pip install --no-deps trackeval==1.3.0`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring.ab3dmot import Baseline
from measuring.drives import FOCAL, RATE, Frame, load
from scipy.optimize import linear_sum_assignment

from km3d_ros.tracking.measurements import Boxes, level_measurements, rotation_matrices
from km3d_ros.tracking.tracker import Tracker

try:
    from trackeval.metrics import CLEAR, HOTA, Identity
except ImportError:
    CLEAR = HOTA = Identity = None

JUDGED = range(2000, 2060)
"""Seeds of the drives. Constants were chosen on seeds 1000 to 1079."""
FRAMES = 80
NO_MATCH = 4.0
"""Horizontal distance in metres at which the similarity of two objects is zero. It is one half at
2 m, where nuScenes counts a match."""
NEAR = 30.0
"""Metres within which the velocity of cars is judged."""
MOVES = 0.5
"""Speed in m/s from which an object moves."""
SPEED_ERROR, TURN_ERROR = 0.02, 0.005
"""Standard deviations of the errors of the odometry: of the speed, as a share, once for a drive
and again in each step; of the turn rate in rad/s (0.3° in a second), once for a drive."""
MOUNT_ERRORS = (0.02, 0.005, 0.005)
"""Standard deviations of the errors of the camera's mount: height in metres, pitch and roll in
radians (0.3°)."""
RECALLS = np.linspace(0.1, 1.0, 19)
OPTICAL = np.array([(0, 0, 1), (-1, 0, 0), (0, -1, 0)], float)
"""From the camera's optical frame into its level frame."""

Array = np.ndarray


@dataclass(frozen=True)
class Found:
    """One object of one frame, in the level frame that stands still.

    box: x, y, z, yaw, length, width, height. velocity: (2,) m/s.
    position_deviation, velocity_deviation: (2,) standard deviations of x and y, if known.
    age: seconds since birth. score: by which the objects of the method can be ranked.
    """

    number: int
    class_name: str
    box: Array
    velocity: Array = field(default_factory=lambda: np.zeros(2))
    position_deviation: Array | None = None
    velocity_deviation: Array | None = None
    age: float = 0.0
    score: float = 0.0


Results = list[list[Found]]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("out/drives"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(JUDGED))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    if HOTA is None:
        print("no trackeval here: nothing measured (pip install --no-deps trackeval==1.3.0)")
        return
    drives = list(load(args.cache, args.seeds, args.frames))
    figures = {
        name: judge(drives, method, SWEPT.get(name, method)) for name, method in METHODS.items()
    }
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2) + "\n")
    rows = dict.fromkeys(row for values in figures.values() for row in values)
    print(f"| | {' | '.join(figures)} |\n|---{'|---' * len(figures)}|")
    for row in rows:
        cells = (figures[name].get(row) for name in figures)
        print(f"| {row} | {' | '.join('' if c is None else f'{c:.3g}' for c in cells)} |")


# The methods.


def as_they_come(frames: Sequence[Frame]) -> Results:
    """Each detection is a new object."""
    number, results = 0, []
    for frame in frames:
        names, boxes = _level_boxes(frame, frame["camera"])
        found = []
        for name, box, record in zip(names, boxes, frame["detections"], strict=True):
            number += 1
            found.append(Found(number, name, box, score=record["score"]))
        results.append(found)
    return results


def iou_tracker(frames: Sequence[Frame]) -> Results:
    """AB3DMOT's recipe, with the true motion of the camera."""
    tracker, results = Baseline(), []
    born: dict[int, int] = {}
    for k, frame in enumerate(frames):
        scores = np.array([record["score"] for record in frame["detections"]])
        entries = tracker.step(*_level_boxes(frame, frame["camera"]), scores)
        results.append(
            [
                Found(
                    number,
                    name,
                    box,
                    velocity[:2] * RATE,
                    age=(k - born.setdefault(number, k)) / RATE,
                    score=score,
                )
                for number, name, box, velocity, score in entries
            ]
        )
    return results


def ours(
    frames: Sequence[Frame], noise: bool = False, existence: float = 0.5, mounted: bool = True
) -> Results:
    """The tracker.

    noise: whether the odometry and the mount of the camera have errors.
    mounted: whether it knows the height and the tilt of the camera above the ground.
    """
    tracker, results = Tracker(), []
    # Another height of the camera in each drive, and so other errors.
    rng = np.random.default_rng(round(1e6 * frames[0]["ground"][0]))
    errors = rng.normal(0, MOUNT_ERRORS) if noise else np.zeros(3)
    cameras = [frame["camera"] for frame in frames]
    if noise:
        cameras = drifting(cameras, rng)
    for k, (frame, camera) in enumerate(zip(frames, cameras, strict=True)):
        rotation, translation = pose(camera)
        measured, _ = level_measurements(_boxes(frame), rotation, translation)
        plane = ground(frame, camera["heading"], errors) if mounted else None
        tracker.step(measured, k / RATE, "camera", plane)
        tracks = tracker.objects(existence)
        mean, covariance = tracks.state()
        deviation = np.sqrt(np.einsum("nii->ni", covariance))
        # Judged where the objects are seen from: relative to the true camera.
        true_rotation, true_translation = pose(frame["camera"])
        turn = (true_rotation @ rotation.T)[:2, :2]
        moved = (mean[:, :3] - translation) @ (true_rotation @ rotation.T).T + true_translation
        turned = np.arctan2(turn[1, 0], turn[0, 0])
        results.append(
            [
                Found(
                    int(tracks.number[i]),
                    tracker.class_names[tracks.classes[i].argmax()],
                    np.array([*moved[i], tracks.yaw[i] + turned, *tracks.size[i]]),
                    turn @ mean[i, 3:5],
                    deviation[i, :2],
                    deviation[i, 3:5],
                    k / RATE - float(tracks.born[i]),
                    float(tracks.existence[i]),
                )
                for i in range(len(tracks))
            ]
        )
    return results


def noisy(frames: Sequence[Frame], existence: float = 0.5) -> Results:
    """The tracker, with errors of the odometry and of the camera's mount."""
    return ours(frames, noise=True, existence=existence)


def without_mount(frames: Sequence[Frame], existence: float = 0.5) -> Results:
    """The tracker, which has to learn where the ground is."""
    return ours(frames, existence=existence, mounted=False)


METHODS: dict[str, Callable[[Sequence[Frame]], Results]] = {
    "detections": as_they_come,
    "AB3DMOT's recipe": iou_tracker,
    "km3d_tracker": ours,
    "km3d_tracker, noisy odometry and mount": noisy,
    "km3d_tracker, unknown mount": without_mount,
}
SWEPT = {
    "km3d_tracker": partial(ours, existence=0.15),
    "km3d_tracker, noisy odometry and mount": partial(noisy, existence=0.15),
    "km3d_tracker, unknown mount": partial(without_mount, existence=0.15),
}
"""For AMOTA: with less certain objects, too, as the other methods report all they have."""


def ground(frame: Frame, heading: float, errors: Array) -> Array:
    """(3,) height and slopes of the ground relative to the camera, in the level frame."""
    height, ahead, right = np.array(frame["ground"]) + errors
    c, s = np.cos(heading), np.sin(heading)
    return -np.array([height, c * ahead + s * right, s * ahead - c * right])


def drifting(cameras: Sequence[dict], rng: np.random.Generator) -> list[dict]:
    """The poses that an odometry with `SPEED_ERROR` and `TURN_ERROR` adds up."""
    scale, turn = 1 + rng.normal(0, SPEED_ERROR), rng.normal(0, TURN_ERROR)
    poses, last = [dict(cameras[0])], cameras[0]
    for camera in cameras[1:]:
        pose_before = poses[-1]
        shift = np.array([camera["x"] - last["x"], camera["y"] - last["y"]])
        drift = pose_before["heading"] - last["heading"]
        c, s = np.cos(drift), np.sin(drift)
        step = scale * (np.array([[c, -s], [s, c]]) @ shift)
        step *= 1 + rng.normal(0, SPEED_ERROR)
        heading = camera["heading"] + drift + turn / RATE
        poses.append(
            {
                "x": pose_before["x"] + step[0],
                "y": pose_before["y"] + step[1],
                "z": camera["z"],
                "heading": heading,
            }
        )
        last = camera
    return poses


def pose(camera: dict[str, float]) -> tuple[Array, Array]:
    """Rotation (3, 3) from the optical frame into the level frame, and the camera's place (3,)."""
    c, s = np.cos(camera["heading"]), np.sin(camera["heading"])
    turn = np.array([(c, -s, 0), (s, c, 0), (0, 0, 1)])
    return turn @ OPTICAL, np.array([camera["x"], camera["y"], camera["z"]])


def _boxes(frame: Frame) -> Boxes:
    records = frame["detections"]
    covariance = np.zeros((len(records), 6, 6))
    covariance[:, [3, 5], [3, 5]] = np.pi**2
    if records:
        rows = np.ix_(range(len(records)), [0, 1, 2, 4], [0, 1, 2, 4])
        covariance[rows] = [r["covariance"] for r in records]
    half = np.array([r["yaw"] / 2 for r in records])
    c, s = np.cos(half), np.sin(half)
    return Boxes(
        [r["class_name"] for r in records],
        np.array([r["score"] for r in records]),
        np.array([r["center"] for r in records]).reshape(-1, 3),
        np.stack([c, s, -s, c], -1) * np.sqrt(0.5),
        np.array([r["size"] for r in records]).reshape(-1, 3),
        covariance,
    )


def _level_boxes(frame: Frame, camera: dict[str, float]) -> tuple[list[str], Array]:
    boxes = _boxes(frame)
    rotation, translation = pose(camera)
    turned = rotation @ rotation_matrices(boxes.quaternion)
    yaw = np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
    places = boxes.position @ rotation.T + translation
    return list(boxes.class_names), np.hstack([places, yaw[:, None], boxes.size])


# The judgement.


@dataclass(frozen=True)
class Truth:
    """The objects of one frame: number, class, box (7,), velocity (2,), and whether they count."""

    numbers: list[int]
    class_names: list[str]
    boxes: Array
    velocities: Array
    counted: Array


def truths(frames: Sequence[Frame]) -> list[Truth]:
    """The true objects of a drive; velocities from their places one frame before and after."""
    places: dict[int, dict[int, Array]] = defaultdict(dict)
    entries = []
    for k, frame in enumerate(frames):
        rotation, translation = pose(frame["camera"])
        rows = []
        for entry in frame["objects"]:
            place = rotation @ entry["center"] + translation
            yaw = -entry["yaw"] + frame["camera"]["heading"] - np.pi / 2
            places[entry["actor"]][k] = place
            rows.append((entry, np.array([*place, yaw, *entry["size"]])))
        entries.append(rows)
    result = []
    for k, rows in enumerate(entries):
        velocities = []
        for entry, _ in rows:
            known = places[entry["actor"]]
            first, last = (k + d if k + d in known else k for d in (-1, 1))
            seconds = max(last - first, 1) / RATE
            velocities.append((known[last] - known[first])[:2] / seconds)
        labels = [entry["label"] for entry, _ in rows]
        result.append(
            Truth(
                [entry["actor"] for entry, _ in rows],
                [entry["class_name"] for entry, _ in rows],
                np.array([box for _, box in rows]).reshape(-1, 7),
                np.array(velocities).reshape(-1, 2),
                np.array(
                    [
                        bool(label and label["occlusion"] < 3 and label["truncation"] < 0.5)
                        and entry["class_name"] in ("Car", "Pedestrian", "Cyclist")
                        for (entry, _), label in zip(rows, labels, strict=True)
                    ],
                    bool,
                ),
            )
        )
    return result


def judge(
    drives: Sequence[Sequence[Frame]], method: Callable, swept: Callable
) -> dict[str, float]:
    """All figures of one method; swept: the same with less certain objects, for AMOTA."""
    sequences, errors, answers = {}, Errors(), []
    for number, frames in enumerate(drives):
        results, truth = in_view(frames, method(frames)), truths(frames)
        if swept is not method:
            answers.append((in_view(frames, swept(frames)), truth))
        else:
            answers.append((results, truth))
        sequences[number] = as_sequence(results, truth)
        errors.add(frames, results, truth)
    figures = {}
    for metric, names in (
        (HOTA(), ("HOTA", "DetA", "AssA")),
        (Identity({"PRINT_CONFIG": False}), ("IDF1",)),
    ):
        combined = _evaluate(metric, sequences)
        figures |= {name: float(100 * np.mean(combined[name])) for name in names}
    clear = _evaluate(CLEAR({"PRINT_CONFIG": False}), sequences)
    minutes = sum(s["num_gt_dets"] for s in sequences.values()) / RATE / 60
    figures["MOTA"] = 100 * clear["MOTA"]
    figures["AMOTA"] = amota(answers)
    figures["switches per minute and visible object"] = clear["IDSW"] / minutes
    return figures | errors.figures()


def amota(answers: Sequence[tuple[Results, Sequence[Truth]]]) -> float:
    """Mean over recalls r of the MOTA at that recall, scaled to at most 100.

    As in nuScenes' evaluation (A. H. Lang et al.): objects are ranked by their mean score, each
    recall takes the best ones that reach it, and counts 1 - (switches + false + missed -
    (1 - r) P) / (r P), with P true objects; at least 0, and 0 where the recall is not reached.
    """
    ranks = []
    for results, _ in answers:
        scores = defaultdict(list)
        for found in results:
            for item in found:
                scores[item.number].append(item.score)
        ranks.append({number: float(np.mean(values)) for number, values in scores.items()})
    limits = np.quantile([r for rank in ranks for r in rank.values()], np.linspace(0, 1, 40))
    points = []
    for limit in limits:
        sequences = {
            number: as_sequence(
                [[item for item in found if rank[item.number] >= limit] for found in results], true
            )
            for number, ((results, true), rank) in enumerate(zip(answers, ranks, strict=True))
        }
        clear = _evaluate(CLEAR({"PRINT_CONFIG": False}), sequences)
        points.append([clear[key] for key in ("CLR_TP", "CLR_FP", "CLR_FN", "IDSW")])
    hits, false, missed, switches = np.array(points, float).T
    true = hits + missed
    values = []
    for recall in RECALLS:
        reached = np.flatnonzero(hits >= recall * true)
        if not len(reached):
            values.append(0.0)
            continue
        k = reached[-1]  # the highest limit
        wrong = switches[k] + false[k] + missed[k] - (1 - recall) * true[k]
        values.append(max(0.0, 1 - wrong / (recall * true[k])))
    return 100 * float(np.mean(values))


def _evaluate(metric: Any, sequences: dict[int, dict]) -> dict[str, Any]:
    return metric.combine_sequences(
        {name: metric.eval_sequence(data) for name, data in sequences.items()}
    )


def in_view(frames: Sequence[Frame], results: Results) -> Results:
    """What is found within the picture: only there, the truth says what exists."""
    kept = []
    for frame, found in zip(frames, results, strict=True):
        rotation, translation = pose(frame["camera"])
        places = [rotation.T @ (item.box[:3] - translation) for item in found]
        kept.append(
            [
                item
                for item, (x, _, z) in zip(found, places, strict=True)
                if abs(x) < 0.5 / FOCAL * z
            ]
        )
    return kept


def as_sequence(results: Results, truth: Sequence[Truth]) -> dict[str, Any]:
    """What trackeval's metrics take: numbers from 0 on, and similarities per frame.

    As in KITTI's evaluation, what is found of objects that do not count (hidden, far away, vans)
    is left out.
    """
    numbers: tuple[dict[int, int], dict[int, int]] = ({}, {})
    ids: tuple[list, list] = ([], [])
    similarities = []
    for found, true in zip(results, truth, strict=True):
        similarity = _similarity(true, found)
        rows, columns = linear_sum_assignment(-similarity)
        neutral = [
            j
            for i, j in zip(rows, columns, strict=True)
            if similarity[i, j] >= 0.5 and not true.counted[i]
        ]
        kept = np.setdiff1d(np.arange(len(found)), neutral).astype(int)
        counted = np.flatnonzero(true.counted)
        sides = [true.numbers[i] for i in counted], [found[j].number for j in kept]
        for side, known, chosen in zip(sides, numbers, ids, strict=True):
            chosen.append(np.array([known.setdefault(n, len(known)) for n in side], int))
        similarities.append(similarity[np.ix_(counted, kept)])
    return {
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": similarities,
        "num_gt_ids": len(numbers[0]),
        "num_tracker_ids": len(numbers[1]),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_dets": sum(map(len, ids[1])),
        "num_timesteps": len(results),
    }


def _similarity(true: Truth, found: Sequence[Found]) -> Array:
    """(T, F): 1 at the same place, 0 at `NO_MATCH` or where the classes differ."""
    places = np.array([f.box[:2] for f in found]).reshape(-1, 2)
    distance = np.linalg.norm(true.boxes[:, None, :2] - places, axis=-1)
    groups = [_group(name) for name in true.class_names], [f.class_name for f in found]
    same = np.array(groups[0], object)[:, None] == np.array(groups[1], object)
    return np.where(same, np.clip(1 - distance / NO_MATCH, 0, 1), 0.0).reshape(
        len(true.numbers), len(found)
    )


def _group(class_name: str) -> str:
    return "Car" if class_name in ("Van", "Truck") else class_name


class Errors:
    """Errors of places and velocities of the objects that were found in the same direction."""

    def __init__(self) -> None:
        self.depth: list[float] = []
        self.single_depth: list[float] = []
        self.velocity: dict[str, list[float]] = {"": [], " moving": []}
        self.normalised: dict[str, list[Array]] = {
            "position": [],
            "velocity": [],
            "moving velocity": [],
            "standing velocity": [],
        }
        self.standing_deviations: list[Array] = []
        self.flips: list[bool] = []

    def add(self, frames: Sequence[Frame], results: Results, truth: Sequence[Truth]) -> None:
        """Take one drive."""
        judged: set[int] = set()
        for frame, found, true in zip(frames, results, truth, strict=True):
            eye = np.array([frame["camera"]["x"], frame["camera"]["y"]])
            names, detected = _level_boxes(frame, frame["camera"])
            seen = dict(_same_direction(true, names, detected, eye))
            boxes = np.array([f.box for f in found]).reshape(-1, 7)
            for i, j in _same_direction(true, [f.class_name for f in found], boxes, eye):
                if not true.counted[i]:
                    continue
                item, distance = found[j], np.linalg.norm(true.boxes[i, :2] - eye)
                error = item.box[:2] - true.boxes[i, :2]
                if i in seen:
                    for depths, box in (
                        (self.depth, item.box),
                        (self.single_depth, detected[seen[i]]),
                    ):
                        depths.append(abs(np.linalg.norm(box[:2] - eye) / distance - 1))
                turn = (item.box[3] - true.boxes[i, 3] + np.pi) % (2 * np.pi) - np.pi
                self.flips.append(abs(turn) > np.pi / 2)
                wrong = item.velocity - true.velocities[i]
                moves = bool(np.linalg.norm(true.velocities[i]) > MOVES)
                if item.position_deviation is not None:
                    self.normalised["position"].append(error / item.position_deviation)
                    self.normalised["velocity"].append(wrong / item.velocity_deviation)
                    kind = "moving" if moves else "standing"
                    self.normalised[f"{kind} velocity"].append(wrong / item.velocity_deviation)
                    if not moves:
                        self.standing_deviations.append(item.velocity_deviation)
                first = item.age > 0.95 and item.number not in judged
                if first and true.class_names[i] == "Car" and distance <= NEAR:
                    judged.add(item.number)
                    for kind in ("", " moving")[: 1 + moves]:
                        self.velocity[kind].append(float(np.linalg.norm(wrong)))

    def figures(self) -> dict[str, float]:
        """Medians and shares."""
        values = {
            "median depth error, %": 100 * float(np.median(self.depth)),
            "the same, detections of the same objects in the same frames": 100
            * float(np.median(self.single_depth)),
            "front and rear confused, %": 100 * float(np.mean(self.flips)),
        }
        for kind, errors in self.velocity.items():
            if errors:
                name = f"median velocity error of near{kind} cars after 1 s, m/s"
                values[name] = float(np.median(errors))
        for name, errors in self.normalised.items():
            for limit in (1, 2):
                if errors:
                    share = float(np.mean(np.abs(np.array(errors)) < limit))
                    values[f"{name} errors within {limit} σ, %"] = 100 * share
        if self.standing_deviations:
            values["median σ of the velocity of standing objects, m/s"] = float(
                np.median(np.array(self.standing_deviations))
            )
        return values


def _same_direction(
    true: Truth, names: Sequence[str], boxes: Array, eye: Array
) -> list[tuple[int, int]]:
    """Pairs of true and found objects of a class in nearly the same place.

    Their directions differ by less than 2°, and their distances by less than a third.
    """
    if not len(boxes) or not len(true.boxes):
        return []
    polar = []
    for places in (true.boxes, boxes):
        offset = places[:, :2] - eye
        polar.append((np.arctan2(offset[:, 1], offset[:, 0]), np.linalg.norm(offset, axis=1)))
    turn = np.abs(polar[0][0][:, None] - polar[1][0])
    ratio = np.abs(np.log(polar[1][1] / polar[0][1][:, None]))
    same = np.array([_group(n) for n in true.class_names], object)[:, None] == np.array(
        list(names), object
    )
    possible = same & (turn < np.radians(2)) & (ratio < np.log(4 / 3))
    cost = np.where(possible, ratio + 10 * turn, 1e3)
    rows, columns = linear_sum_assignment(cost)
    return [(i, j) for i, j in zip(rows, columns, strict=True) if possible[i, j]]


if __name__ == "__main__":
    main()
