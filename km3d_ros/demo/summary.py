"""The figures of a demo: answered frames, latency, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from km3d_ros.bag import read_bag
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo.recorded_frames import Answer
from km3d_ros.demo.session import Clocking
from km3d_ros.demo.topics import DIAGNOSTICS, TIMING
from km3d_ros.evaluation.depth_error import median_relative_depth_error
from km3d_ros.evaluation.kitti_ap import DIFFICULTIES, evaluate
from km3d_ros.inference.formats import to_kitti

STAGES = ("wait", "preprocess", "network", "decode", "publish", "total")
PERCENTILES = (50, 95, 99)


def summarize(
    recorded: Path,
    clocking: Clocking,
    answers: Sequence[Answer],
    truth: Mapping[int, Sequence[KittiObject]],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The content of summary.json.

    recorded: the bag with the node's timing and diagnostics.
    truth: true objects of every published frame, by stamp.

    Returns:
        Milliseconds, percent (AP) and fractions (depth error); None without data. `stage_ms`
        are medians of the node's own timing. `latency_ms` is the time from the publication of
        an image to the arrival of its detections in another process.
    """
    found = {a.stamp: to_kitti(a.detections, class_names) for a in answers}
    pairs = [(objects, found.get(stamp, [])) for stamp, objects in truth.items()]
    labels, results = zip(*pairs, strict=True)
    depth_errors = median_relative_depth_error(labels, results)
    return {
        "frames_published": len(clocking.published),
        "frames_answered": len(answers),
        "frames_dropped": len(clocking.published) - len(answers),
        "latency_ms": _latency(clocking, answers),
        "stage_ms": _stages(recorded),
        "ap3d_r40": _car_ap(labels, results, 0.7),
        "ap3d_r40_iou50": _car_ap(labels, results, 0.5),
        "median_relative_depth_error": {
            band: None if error is None else round(error, 4)
            for band, error in depth_errors.items()
        },
        **_self_description(recorded),
    }


def _latency(clocking: Clocking, answers: Sequence[Answer]) -> dict[str, float | None]:
    """Percentiles in milliseconds."""
    latencies = [
        (arrival - clocking.published[answer.stamp]) / 1e6
        for arrival, answer in zip(clocking.answered, answers, strict=True)
    ]
    found = np.percentile(latencies, PERCENTILES) if latencies else (None,) * len(PERCENTILES)
    return {f"p{p}": _rounded(value) for p, value in zip(PERCENTILES, found, strict=True)}


def _stages(recorded: Path) -> dict[str, float]:
    """Medians in milliseconds."""
    timings = [entry.message for entry in read_bag(recorded, [TIMING])]
    return {
        stage: _rounded(1e3 * np.median([getattr(timing, stage) for timing in timings]))
        for stage in STAGES
        if timings
    }


def _car_ap(
    labels: Sequence[Sequence[KittiObject]], results: Sequence[Sequence[KittiObject]], iou: float
) -> dict[str, dict[str, float | None]]:
    """3D average precision of cars by difficulty; None without ground truth."""
    precision = evaluate(labels, results, iou)["Car"]["3d"]["R40"]
    return {"Car": dict(zip(DIFFICULTIES, map(_rounded, precision), strict=True))}


def _self_description(recorded: Path) -> dict[str, str | None]:
    """Weights and backend from the node's diagnostics."""
    values: dict[str, str] = {}
    for _, message, _ in read_bag(recorded, [DIAGNOSTICS]):
        values |= {pair.key: pair.value for status in message.status for pair in status.values}
    return {key: values.get(key) for key in ("weights", "backend")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 2)


def table(summary: Mapping[str, Any]) -> str:
    """The summary as text."""
    rows = [
        ("frames", "{frames_answered} of {frames_published} answered, {frames_dropped} dropped"),
        ("latency, ms", _line(summary["latency_ms"])),
        ("stages, ms", _line(summary["stage_ms"])),
        ("Car AP3D (R40, IoU 0.7), %", _line(summary["ap3d_r40"]["Car"])),
        ("Car AP3D (R40, IoU 0.5), %", _line(summary["ap3d_r40_iou50"]["Car"])),
        ("median depth error by metres", _line(summary["median_relative_depth_error"], ".1%")),
        ("weights", "{weights}, in {backend}"),
    ]
    return "\n".join(f"  {name:<29} {text.format_map(summary)}" for name, text in rows)


def _line(values: Mapping[str, float | None], form: str = ".1f") -> str:
    return "  ".join(
        f"{name} {'-' if value is None else format(value, form)}" for name, value in values.items()
    )
