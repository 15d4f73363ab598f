"""Labels and results of each frame, from files or from a detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from km3d_ros.data.box_labels import counted, names_with_counts, shown
from km3d_ros.data.class_names import CANONICAL, DONT_CARE, canonical
from km3d_ros.data.kitti import list_texts, read_split
from km3d_ros.data.kitti_labels import read_labels, read_results
from km3d_ros.errors import InputError
from km3d_ros.evaluation.kitti_ap import CLASSES
from km3d_ros.evaluation.overlap import PerImage
from km3d_ros.evaluation.validation import Findings, reported
from km3d_ros.inference.formats import read_records


@dataclass(frozen=True)
class Compared:
    """Labels and results, one entry per frame.

    truth: the labels. results: all results.
    reported: the results at or above the default score threshold.
    records: the results as in `detections.jsonl`; None if there are none.
    classes: names of the classes to evaluate.
    without_results: names of the frames that have no result file.
    without_labels: names of the result files that have no label file.
    """

    truth: PerImage
    results: PerImage
    reported: PerImage
    records: list[list[dict[str, Any]]] | None
    classes: tuple[str, ...]
    without_results: list[str] = field(default_factory=list)
    without_labels: list[str] = field(default_factory=list)

    @classmethod
    def of_findings(cls, findings: Findings) -> Compared:
        """Labels and results of a detector on labelled frames."""
        results, records = findings.results, findings.records
        return cls(findings.truth, results, reported(results), records, findings.classes)

    def counts(self) -> dict[str, Any]:
        """Numbers of frames and objects, for JSON."""
        return {
            "frames": len(self.truth),
            "frames_without_results": len(self.without_results),
            "results_without_labels": len(self.without_labels),
            "objects": {"labels": _count(self.truth), "results": _count(self.results)},
        }

    def lines(self) -> list[str]:
        """The numbers as lines of text."""
        frames = counted(len(self.truth), "frame")
        for names, what in (
            (self.without_results, "without result file, whose objects count as misses"),
            (self.without_labels, "result files without label file, not evaluated"),
        ):
            if names:
                frames += f"; {len(names)} {what} (first: {shown(names[0])})"
        labels, results = _count(self.truth), _count(self.results)
        lines = [f"{frames}", f"labels: {_listed(labels)}", f"results: {_listed(results)}"]
        known = {*CANONICAL, *self.classes}
        unknown = Counter({name: n for name, n in labels.items() if name not in known})
        if unknown:
            lines.append(f"unknown class names in labels: {names_with_counts(unknown)}")
        return lines


def compare_files(labels: Path, results: Path, split: str | None = None) -> Compared:
    """Read the label and result files of two folders.

    The benchmark's classes and the classes of the results are evaluated.

    results: folder of files named like the label files. It may contain `detections.jsonl`, which
        has the covariances.
    split: name of a file in ImageSets, beside the label folder or one folder up, that lists the
        frames; None for all frames.

    Raises:
        InputError: a folder, the split or a file is missing or unreadable, or no result file has
            the name of a label file.
    """
    for folder in (labels, results):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    paths, found = list_texts(labels), list_texts(results)
    if not paths:
        raise InputError(f"{labels}: no label files (*.txt)")
    if not paths.keys() & found.keys():
        raise InputError(f"{results}: no result file is named like a label file in {labels}")
    names = list(paths) if split is None else _split(labels, split)
    for name in names:
        if name not in paths:
            raise InputError(f"{labels}: no label file of frame {shown(name)}")
    objects = [read_results(found[name]) if name in found else [] for name in names]
    classes = _classes(item.class_name for frame in objects for item in frame)
    objects = [
        [replace(item, class_name=canonical(item.class_name, classes)) for item in frame]
        for frame in objects
    ]
    table = results / "detections.jsonl"
    records = read_records(table, classes) if table.exists() else {}
    return Compared(
        [read_labels(paths[name], classes) for name in names],
        objects,
        objects,
        [records.get(name, []) for name in names] if records else None,
        classes,
        [name for name in names if name not in found],
        [name for name in found if name not in paths],
    )


def _split(labels: Path, split: str) -> list[str]:
    """Names of the frames of a split, from ImageSets beside the label folder or one folder up."""
    roots = [labels.resolve().parent, labels.resolve().parents[1]]
    for root in roots:
        if (root / "ImageSets" / f"{split}.txt").is_file():
            return read_split(root, split)
    places = " or ".join(str(root / "ImageSets") for root in roots)
    raise InputError(f"no {split}.txt in {places}")


def _classes(names: Iterable[str]) -> tuple[str, ...]:
    """The benchmark's classes and the other names, each in its first spelling."""
    classes = list(CLASSES)
    for name in names:
        if name != DONT_CARE and canonical(name, classes) not in classes:
            classes.append(name)
    return tuple(classes)


def _count(frames: PerImage) -> Counter[str]:
    return Counter(item.class_name for objects in frames for item in objects)


def _listed(counts: Counter[str]) -> str:
    return names_with_counts(counts) or "none"
