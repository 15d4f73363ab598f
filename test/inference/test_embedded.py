"""The embedded weights, as a checkpoint and as the graph that `tools/embed_weights.py` exports."""

import numpy as np
import pytest
import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.backends.openvino import OpenVinoBackend
from km3d_ros.inference.backends.pytorch import TorchBackend
from km3d_ros.inference.comparison import OnnxRuntime, compare
from km3d_ros.inference.exported import read_spec
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import DEFAULT_WEIGHTS, EMBEDDED_GRAPH
from km3d_ros.network import checkpoint
from km3d_ros.town import render, sample_scene


@pytest.fixture(scope="module")
def street():
    frames = [render(sample_scene(9, i), 800, 240) for i in range(2)]
    cameras = [CameraModel.from_projection(frame.projection, 800, 240) for frame in frames]
    size = checkpoint.read_spec(DEFAULT_WEIGHTS).input_size
    views = [virtual_camera(camera, size) for camera in cameras]
    return GraphInputs.of([frame.image for frame in frames], views)


@pytest.mark.parametrize("runtime", [OpenVinoBackend, OnnxRuntime])
def test_embedded_graph_is_the_embedded_checkpoint_within_half_precision(street, runtime):
    """Otherwise `tools/embed_weights.py` has not run since weights or code changed."""
    model, spec = checkpoint.load(DEFAULT_WEIGHTS)
    expected = TorchBackend(model, spec, torch.device("cpu")).run(street)
    found = runtime(EMBEDDED_GRAPH.read_bytes(), "cpu", "float32").run(street)
    difference = compare(found, expected, least_score=0.15)
    assert difference.expected >= 5
    assert difference.shared == difference.expected
    assert difference.score < 5e-3
    assert difference.position < 0.1
    for table, truth in zip(found, expected, strict=True):
        assert table.shape == truth.shape
    np.testing.assert_allclose(found[0][0, 0], expected[0][0, 0], rtol=0.05, atol=0.5)


def test_embedded_graph_says_what_its_checkpoint_says():
    graph = EMBEDDED_GRAPH.read_bytes()
    assert len(graph) <= 8e6
    assert read_spec(graph, "embedded") == checkpoint.read_spec(DEFAULT_WEIGHTS)
