"""Networks that nobody trained, but that see boxes where boxes could be."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from km3d_ros.geometry.box3d import keypoint_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import STRIDE, ModelSpec

WIDTH, HEIGHT, FOCAL = 160, 64, 120.0
SIZE = (1.5, 1.6, 3.9)
DEPTH = 20.0


@dataclass(frozen=True)
class Plausible:
    """A network, and pictures of noise for it."""

    model: KM3DNet
    spec: ModelSpec
    inputs: GraphInputs


def plausible(architecture: str, count: int = 3) -> Plausible:
    """A network whose every peak is about a car that is seen from behind at 20 m."""
    torch.manual_seed(0)
    spec = ModelSpec(
        architecture,
        input_size=(HEIGHT, WIDTH),
        head_width=32,
        dimension_mean=(SIZE,) * 3,
        dimension_spread=((0.1,) * 3,) * 3,
    )
    model = KM3DNet(spec)
    inputs = _noise(count, spec)
    with torch.no_grad():
        # Without statistics of its own a deep network says nearly the same everywhere.
        pixels = torch.from_numpy(inputs.pixels).permute(0, 3, 1, 2) / 127.5 - 1
        model.train().features(pixels)
        features = model.eval().features(pixels)
        box = (_keypoints() / STRIDE).flatten()
        # Of two bins the first one, and no angle from its centre: alpha is -90 degrees.
        behind = torch.tensor([0.0, 1, 0, 1, 1, 0, 0, 1])
        for name, mean, spread in (
            ("hm", torch.tensor(-3.0), 1.5),
            ("hps", box, 0.1),
            ("dim", torch.tensor(0.0), 0.5),
            ("rot", behind, 0.1),
        ):
            _adjust(model.heads[name], features, mean, spread)
    return Plausible(model, spec, inputs)


def _adjust(head: nn.Sequential, features: Tensor, mean: Tensor, spread: float) -> None:
    """Let every channel of a head have this mean and standard deviation."""
    head[-1].bias.zero_()
    said = head(features).transpose(0, 1).flatten(1)
    scale = spread / said.std(1)
    head[-1].weight.mul_(scale[:, None, None, None])
    head[-1].bias.copy_(mean - said.mean(1) * scale)


def _noise(count: int, spec: ModelSpec) -> GraphInputs:
    # Blurred, so that neighbouring cells differ in what they see.
    coarse = np.random.default_rng(0).integers(0, 256, (count, 16, 40, 3), dtype=np.uint8)
    images = list(coarse.repeat(4, axis=1).repeat(4, axis=2))
    camera = CameraModel.from_intrinsics(
        [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], WIDTH, HEIGHT
    )
    return GraphInputs.of(images, [virtual_camera(camera, spec.input_size)] * count)


def _keypoints() -> Tensor:
    """(9, 2): pixels from the centre of a car at DEPTH to its corners and centre."""
    height, width, length = SIZE
    size = torch.tensor([length, width, height])
    points = keypoint_offsets(size, torch.tensor(-torch.pi / 2)) + torch.tensor([0, 0, DEPTH])
    return FOCAL * points[:, :2] / points[:, 2:]
