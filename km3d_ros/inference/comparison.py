"""Differences between the answers of two backends to the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from km3d_ros.inference.backends.backend import UnavailableError
from km3d_ros.inference.backends.openvino import OpenVinoBackend
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.detections import Detections, unpack
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import STRIDE, ModelSpec


class OnnxRuntime:
    """ONNX Runtime on the CPU. It checks exported graphs, but is not a backend of the detector.

    OpenVINO is faster in every row of benchmarks/results/speed.md.
    """

    def __init__(self, graph: bytes, device: str, precision: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise UnavailableError(f"it is not installed ({error})") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)

    def run(self, inputs: GraphInputs) -> tuple[np.ndarray, ...]:
        """As `Backend.run`."""
        return tuple(self._session.run(None, inputs.by_name()))


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVinoBackend}
"""Runtimes that exported graphs are checked in, by name."""

DISTANCE = 20.0
"""Distance in metres to which differences of position are scaled."""
FARTHEST = 100.0
"""Metres up to which positions are compared. Beyond, rounding moves objects by metres."""
MOST_SCORE, MOST_POSITION, LEAST_SHARED = 1e-4, 0.01, 0.9
"""Limits up to which rounding in float32 explains a difference: difference of the score, of the
position in metres, and smallest part of the objects that both answers have."""


@dataclass(frozen=True)
class Difference:
    """The largest differences over the objects that two answers share; 0 where there are none.

    shared, expected: how many objects both answers have, and the reference alone.
    score: of peak score × confidence.
    position: metres, scaled to `DISTANCE`.
    """

    shared: int
    expected: int
    score: float
    position: float

    @property
    def is_rounding(self) -> bool:
        """Whether rounding in float32 explains this difference."""
        return (
            self.shared >= LEAST_SHARED * self.expected
            and self.score <= MOST_SCORE
            and self.position <= MOST_POSITION
        )

    def __str__(self) -> str:
        return (
            f"{self.shared} of {self.expected} objects, differences up to {self.score:.2g} in "
            f"score and {100 * self.position:.2g} cm at {DISTANCE:.0f} m"
        )


def compare_runtimes(
    graph: bytes, model: KM3DNet, spec: ModelSpec, inputs: GraphInputs, least_score: float = 0.0
) -> dict[str, Difference | None]:
    """Compare an exported graph in every runtime with the model in PyTorch, in float32 on the CPU.

    least_score: as in `compare`.
    Returns the result of `compare` by runtime; None if the runtime is not installed.
    """
    reference = TorchBackend(model, spec, torch.device("cpu")).run(inputs)
    differences = dict.fromkeys(RUNTIMES)
    for name, opener in RUNTIMES.items():
        try:
            backend = opener(graph, "cpu", "float32")
        except UnavailableError:
            continue
        differences[name] = compare(backend.run(inputs), reference, least_score)
    return differences


def compare(
    answer: tuple[np.ndarray, ...], reference: tuple[np.ndarray, ...], least_score: float = 0.0
) -> Difference:
    """Compare two answers of `Backend.run` to the same images, in their `consistent` positions.

    Two rows are the same object if they have the same class, and if their centre keypoints are
    each other's nearest and less than half a cell of the heatmap apart. Only objects with a
    position up to `FARTHEST` count for the difference of positions.

    least_score: lower scores of the reference are left out.
    """
    expected, scores, positions = 0, [np.zeros(0)], [np.zeros(0)]
    for table, true_table in zip(answer[0], reference[0], strict=True):
        found, truth = unpack(table), unpack(true_table)
        truth = truth[(truth.peak_score > 0) & (truth.score >= least_score)]
        expected += len(truth)
        same, index = _pairs(found, truth)
        truth, found = truth[same], found[index]
        distance = np.linalg.norm(truth.center, axis=-1)
        moved = DISTANCE * np.linalg.norm(found.center - truth.center, axis=-1) / distance
        # A missing position counts as an infinite difference.
        positions.append(np.where(np.isnan(moved), np.inf, moved)[distance <= FARTHEST])
        scores.append(np.abs(found.score - truth.score))
    score, position = np.concatenate(scores), np.concatenate(positions)
    largest = (float(values.max(initial=0.0)) for values in (score, position))
    return Difference(len(score), expected, *largest)


def _pairs(found: Detections, truth: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M,) of `truth` and of `found` that are the same objects."""
    if not len(truth):
        return np.zeros(0, int), np.zeros(0, int)
    apart = np.linalg.norm(truth.keypoints[:, None, 8] - found.keypoints[:, 8], axis=-1)
    alien = (truth.class_index[:, None] != found.class_index) | (found.peak_score <= 0)
    apart = np.where(alien | np.isnan(apart), np.inf, apart)
    nearest = apart.argmin(1)
    mutual = apart[:, nearest].argmin(0) == np.arange(len(nearest))
    same = np.flatnonzero(mutual & (apart.min(1) < STRIDE / 2))
    return same, nearest[same]
