import math

import pytest
import torch
from support.frames import CAMERA, SPEC, VIEW, car

from km3d_ros.geometry.box3d import observation_angle
from km3d_ros.inference.decode import BIN_CENTERS
from km3d_ros.training.losses import depth_weight, focal_loss, object_losses
from km3d_ros.training.start import new_spec
from km3d_ros.training.targets import ObjectTargets, make_targets


def targets() -> ObjectTargets:
    items = [car(), car(center=(3.0, 0.8, 35.0), yaw=-2.0), car(class_name="Cyclist", yaw=3.0)]
    return make_targets(items, CAMERA, VIEW, SPEC).objects


def perfect_heads(objects: ObjectTargets) -> dict[str, torch.Tensor]:
    """What a network that knows the truth would say."""
    mean = torch.tensor(SPEC.dimension_mean)[objects.class_index]
    spread = torch.tensor(SPEC.dimension_spread)[objects.class_index]
    alpha = observation_angle(objects.yaw, objects.center[:, 0] / objects.center[:, 2])
    residual = alpha[:, None] - torch.tensor(BIN_CENTERS)
    inside = torch.cos(residual) > -0.5
    bins = torch.stack(
        (
            torch.where(inside, -20.0, 20.0),
            torch.where(inside, 20.0, -20.0),
            residual.sin(),
            residual.cos(),
        ),
        dim=-1,
    )
    return {
        "hps": objects.keypoints.flatten(1).clone(),
        "dim": (objects.size[:, [2, 1, 0]] / mean).log() / spread,
        "rot": bins.flatten(1),
        "prob": torch.full((len(objects), 1), 20.0),
    }


def test_the_truth_costs_nothing():
    losses = object_losses(perfect_heads(targets()), targets(), SPEC)
    assert set(losses) == {"hps", "dim", "rot", "position", "prob"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(0, abs=2e-3), name


def test_size_loss_counts_in_standard_deviations():
    heads = perfect_heads(targets())
    heads["dim"] = heads["dim"] + 0.5
    assert object_losses(heads, targets(), SPEC)["dim"].item() == pytest.approx(0.5, abs=1e-4)


def test_keypoint_loss_is_guided_by_depth():
    objects = targets()
    for row, depth in ((0, 20.0), (1, 35.0)):
        heads = perfect_heads(objects)
        heads["hps"][row] += 1.0
        loss = object_losses(heads, objects, SPEC)["hps"].item()
        assert loss == pytest.approx(2 * (math.log10(depth - 4) + 0.1) / 3, rel=1e-3)


def test_depth_weight_is_small_next_to_the_camera():
    weights = depth_weight(torch.tensor([2.0, 4.0, 14.0, 104.0]))
    torch.testing.assert_close(weights, torch.tensor([0.02, 0.04, 1.1, 2.1]))


def test_confidence_is_taught_the_overlap_that_was_reached():
    objects = targets()
    heads = perfect_heads(objects)
    heads["dim"] = heads["dim"] + 1.0
    losses = object_losses(heads, objects, SPEC)
    assert losses["prob"].item() > 5
    assert not losses["position"].isnan()


def test_position_loss_teaches_the_keypoints():
    heads = {name: v.requires_grad_() for name, v in perfect_heads(targets()).items()}
    shifted = heads | {"hps": heads["hps"] * 1.05}
    object_losses(shifted, targets(), SPEC)["position"].backward()
    assert heads["hps"].grad.abs().max() > 0
    assert heads["hps"].grad.isfinite().all()


def test_frame_without_objects_costs_nothing_and_keeps_the_graph():
    none = make_targets([], CAMERA, VIEW, SPEC).objects
    heads = {
        n: torch.zeros(0, c, requires_grad=True)
        for n, c in (("hps", 18), ("dim", 3), ("rot", 8), ("prob", 1))
    }
    total = sum(object_losses(heads, none, SPEC).values())
    total.backward()
    assert total.item() == 0


def test_metric_sizes_are_compared_in_metres():
    spec = new_spec("res_18", (192, 640))
    metric = type(spec)(architecture="res_18")
    objects = targets()
    heads = perfect_heads(objects) | {"dim": objects.size[:, [2, 1, 0]] + 0.25}
    assert object_losses(heads, objects, metric)["dim"].item() == pytest.approx(0.25, abs=1e-5)


def test_focal_loss_of_known_values():
    logits = torch.zeros(1, 1, 1, 3)
    heatmap = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    care = torch.tensor([[[[True, True, False]]]])
    expected = -math.log(0.5) * 0.25 * (1 + 0.5**4)
    assert focal_loss(logits, heatmap, care).item() == pytest.approx(expected)


def test_focal_loss_without_objects_is_finite():
    empty = torch.zeros(1, 1, 2, 2)
    assert focal_loss(empty - 5, empty, empty == 0).isfinite()
