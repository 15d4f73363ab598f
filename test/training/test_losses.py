import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.frames import CAMERA, SPEC, VIEW, car

from km3d_ros.geometry.box3d import observation_angle
from km3d_ros.inference.decode import BIN_CENTERS
from km3d_ros.network.spec import TYPICAL_DEPTH_ERROR
from km3d_ros.training.augment import kept_keypoints
from km3d_ros.training.initial_weights import new_spec
from km3d_ros.training.losses import (
    PLAUSIBLE_POSITION,
    POSITION_TOLERANCE,
    depth_weight,
    focal_loss,
    object_losses,
)
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
        "wh": objects.box_size.clone(),
        "reg": objects.box_center.clone(),
    }


def test_the_truth_costs_nothing():
    losses = object_losses(perfect_heads(targets()), targets(), SPEC)
    assert set(losses) == {"hps", "dim", "rot", "position", "prob", "wh", "reg"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(0, abs=2e-3), name


def test_losses_are_sums_over_the_objects():
    objects = targets()
    twice = ObjectTargets.cat([objects, objects])
    heads = {name: values + 0.1 for name, values in perfect_heads(objects).items()}
    once = object_losses(heads, objects, SPEC)
    both = object_losses({n: torch.cat((v, v)) for n, v in heads.items()}, twice, SPEC)
    for name, value in once.items():
        assert value > 0, name
        torch.testing.assert_close(both[name], 2 * value, rtol=1e-4, atol=0, msg=name)


def test_size_loss_counts_in_standard_deviations():
    heads = perfect_heads(targets())
    heads["dim"] = heads["dim"] + 0.5
    assert object_losses(heads, targets(), SPEC)["dim"].item() == pytest.approx(1.5, abs=1e-4)


def test_box_losses_count_cells():
    objects = targets()
    heads = perfect_heads(objects)
    heads["wh"][1] += torch.tensor([2.0, -1.0])
    heads["reg"][2] += torch.tensor([0.25, 0.5])
    losses = object_losses(heads, objects, SPEC)
    assert losses["wh"].item() == pytest.approx(3)
    assert losses["reg"].item() == pytest.approx(0.75)


def test_heads_that_are_not_trained_have_no_loss():
    heads = perfect_heads(targets())
    del heads["wh"], heads["reg"]
    assert set(object_losses(heads, targets(), SPEC)) == {"hps", "dim", "rot", "position", "prob"}


def test_keypoint_loss_is_guided_by_depth():
    objects = targets()
    for row, depth in ((0, 20.0), (1, 35.0)):
        heads = perfect_heads(objects)
        heads["hps"][row] += 1.0
        loss = object_losses(heads, objects, SPEC)["hps"].item()
        assert loss == pytest.approx(2 * (math.log10(depth - 4) + 0.1), rel=1e-3)
        plain = object_losses(heads, objects, SPEC, depth_guided=False)["hps"].item()
        assert plain == pytest.approx(2)


def test_keypoints_behind_the_camera_are_not_taught():
    objects = targets()
    mask = objects.keypoint_mask.clone()
    mask[:, 3] = False
    heads = perfect_heads(objects)
    heads["hps"].view(-1, 9, 2)[:, 3] += 7.0
    assert object_losses(heads, replace(objects, keypoint_mask=mask), SPEC)["hps"] == 0


def test_depth_weight_is_small_next_to_the_camera():
    weights = depth_weight(torch.tensor([2.0, 4.0, 14.0, 104.0]))
    torch.testing.assert_close(weights, torch.tensor([0.02, 0.04, 1.1, 2.1]))


def test_confidence_is_taught_the_overlap_that_was_reached():
    objects = targets()
    heads = perfect_heads(objects)
    heads["dim"] = heads["dim"] + 1.0
    losses = object_losses(heads, objects, SPEC)
    assert losses["prob"].item() > 15
    assert not losses["position"].isnan()


def farther(factors: tuple[float, ...]) -> tuple[ObjectTargets, dict[str, torch.Tensor]]:
    """The same keypoints of larger objects, which thus are farther away by these factors."""
    objects = targets()
    heads = perfect_heads(objects)
    spread = torch.tensor(SPEC.dimension_spread)[objects.class_index]
    heads["dim"] = heads["dim"] + torch.tensor(factors).log()[:, None] / spread
    return objects, heads


def test_depth_error_is_taught_the_relative_error_of_the_depth():
    factors = (1.02, 1.08, 0.96)
    objects, heads = farther(factors)
    errors = torch.tensor(factors).sub(1).abs()
    said = torch.zeros(3, 1, requires_grad=True)
    loss = object_losses(heads | {"depth_error": said}, objects, SPEC)["depth_error"]
    assert loss.item() == pytest.approx(errors.sum().item() / TYPICAL_DEPTH_ERROR, rel=0.01)
    right = (errors / TYPICAL_DEPTH_ERROR).log()[:, None].requires_grad_()
    object_losses(heads | {"depth_error": right}, objects, SPEC)["depth_error"].backward()
    torch.testing.assert_close(right.grad, torch.zeros(3, 1), rtol=0, atol=0.01)


def test_depths_that_are_not_determined_teach_a_large_error():
    objects = targets()
    heads = perfect_heads(objects) | {"depth_error": torch.zeros(3, 1)}
    heads["hps"][1] = 0.0
    loss = object_losses(heads, objects, SPEC)["depth_error"].item()
    assert loss == pytest.approx(PLAUSIBLE_POSITION / TYPICAL_DEPTH_ERROR, rel=0.01)


def test_position_loss_is_relative_to_the_distance():
    for factor in (1.01, 1.08):
        objects, heads = farther((factor,) * 3)
        moved = ((factor - 1) * objects.center / objects.center[:, 2:]).abs()
        tolerance = POSITION_TOLERANCE
        cost = torch.where(
            moved < tolerance, moved.square() / (2 * tolerance), moved - tolerance / 2
        )
        loss = object_losses(heads, objects, SPEC)["position"].item()
        assert loss == pytest.approx(cost.sum().item(), rel=0.01)


@pytest.mark.parametrize("dropout", [0.2, 0.5, 1.0])
def test_position_of_perfect_keypoints_is_exact_whichever_are_dropped(dropout):
    rng = np.random.default_rng(0)
    many = ObjectTargets.cat([targets()] * 20)
    kept = kept_keypoints(len(many), dropout, rng)
    losses = object_losses(perfect_heads(many), replace(many, kept=kept), SPEC)
    assert losses["position"].item() / len(many) < 1e-3


def test_dropped_keypoints_have_no_say_in_the_position():
    objects = targets()
    kept = torch.ones(3, 9, dtype=torch.bool)
    kept[:, [1, 6]] = False
    heads = perfect_heads(objects)
    heads["hps"].view(-1, 9, 2)[:, [1, 6]] += 5.0
    losses = object_losses(heads, replace(objects, kept=kept), SPEC)
    assert losses["position"].item() == pytest.approx(0, abs=1e-3)
    assert object_losses(heads, objects, SPEC)["position"] > 0.01


def test_confidence_is_taught_the_overlap_of_all_keypoints():
    objects = targets()
    heads = perfect_heads(objects)
    heads["hps"] = heads["hps"] * 1.02
    kept = torch.zeros(3, 9, dtype=torch.bool)
    kept[:, [0, 5]] = True
    full, few = (
        object_losses(heads, replace(objects, kept=k), SPEC) for k in (objects.kept, kept)
    )
    assert full["prob"] == few["prob"]
    assert full["position"] != few["position"]


@pytest.mark.parametrize("left", [0, 1])
def test_position_that_too_few_keypoints_leave_open_teaches_nothing(left):
    objects = targets()
    kept = torch.zeros(3, 9, dtype=torch.bool)
    kept[:, :left] = True
    kept[2] = True
    heads = perfect_heads(objects)
    leaf = {n: (v * 1.02).requires_grad_() for n, v in heads.items() if n != "prob"}
    loss = object_losses(heads | leaf, replace(objects, kept=kept), SPEC)["position"]
    loss.backward()
    assert loss > 0
    for name in ("hps", "dim", "rot"):
        assert (leaf[name].grad[:2] == 0).all(), name
        assert leaf[name].grad.isfinite().all(), name
    assert leaf["hps"].grad[2].abs().max() > 0


def test_absurd_positions_are_left_to_the_keypoint_loss():
    objects = targets()
    heads = perfect_heads(objects)
    heads["hps"] = (heads["hps"] * 0.3).requires_grad_()
    losses = object_losses(heads, objects, SPEC)
    assert losses["position"] == 0
    assert losses["hps"] > 1


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
        for n, c in (("hps", 18), ("dim", 3), ("rot", 8), ("prob", 1), ("wh", 2), ("reg", 2))
    }
    total = sum(object_losses(heads, none, SPEC).values())
    total.backward()
    assert total.item() == 0
    assert all(values.grad is not None for values in heads.values())


def test_metric_sizes_are_compared_in_metres():
    spec = new_spec("res_18", (192, 640))
    metric = type(spec)(architecture="res_18")
    objects = targets()
    heads = perfect_heads(objects) | {"dim": objects.size[:, [2, 1, 0]] + 0.25}
    assert object_losses(heads, objects, metric)["dim"].item() == pytest.approx(0.75, abs=1e-5)


def test_focal_loss_of_known_values():
    logits = torch.zeros(1, 1, 1, 3)
    heatmap = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    care = torch.tensor([[[[True, True, False]]]])
    expected = -math.log(0.5) * 0.25 * (1 + 0.5**4)
    assert focal_loss(logits, heatmap, care).item() == pytest.approx(expected)


def test_focal_loss_is_summed_over_the_batch():
    logits = torch.linspace(-3, 2, 12).view(1, 1, 3, 4)
    heatmap = torch.linspace(0, 1, 12).view(1, 1, 3, 4)
    care = heatmap > 0.2
    once = focal_loss(logits, heatmap, care)
    twice = focal_loss(*(v.expand(2, -1, -1, -1) for v in (logits, heatmap, care)))
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("logit", [-5.0, -500.0, 500.0])
def test_focal_loss_without_objects_is_finite(logit):
    empty = torch.zeros(1, 1, 2, 2)
    assert focal_loss(empty + logit, empty, empty == 0).isfinite()
