import math
from dataclasses import replace

import pytest
import torch
from support.frames import write_frames
from torch import nn

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, INFERENCE_HEADS
from km3d_ros.training.dataset import Batch, Sources, TrainingViews, collate
from km3d_ros.training.initial_weights import new_spec
from km3d_ros.training.losses import WEIGHTS
from km3d_ros.training.objective import CONSENSUS_PARTS, Objective, exponential_ramp
from km3d_ros.training.sampler import Key, Kind
from km3d_ros.training.settings import Method

SPEC = replace(new_spec("lite", (64, 160)), architecture="small", head_width=8)
SUPERVISED = {"hm", "hps", "dim", "rot", "prob", "wh", "reg", "hm_hp", "hp_offset"}
SUPERVISED |= {"depth_error", "position"}
BOXES = {"boxes_hm", "boxes_hps", "boxes_wh", "boxes_reg"}


class Small(nn.Sequential):
    """A backbone at stride 4 that costs nothing."""

    out_channels = 8

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 7, stride=4, padding=3), nn.Tanh())


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", Small)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingViews:
    folder = write_frames(tmp_path_factory.mktemp("frames") / "town", 4)
    frames, boxed = KittiDataset(folder), list(open_boxes([folder], SPEC.classes))
    boxed[2] = replace(boxed[2], projection=None)
    return TrainingViews(Sources(frames, frames, boxed), SPEC, Method(), seed=0)


@pytest.fixture(scope="module")
def model(small_backbone) -> KM3DNet:
    torch.manual_seed(0)
    return KM3DNet(SPEC)


@pytest.fixture(autouse=True)
def no_gradients_left(model):
    model.zero_grad(set_to_none=True)


def batch_of(data: TrainingViews, labelled: list[int], pairs: list[int], boxed=()) -> Batch:
    kinds = (Kind.LABELLED, labelled), (Kind.UNLABELLED, pairs), (Kind.BOXED, boxed)
    return collate([data[Key(kind, 0, i)] for kind, indices in kinds for i in indices])


EMPTY = 3
"""The frame without objects."""


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("pairs", [[], [0, 2]])
@pytest.mark.parametrize("labelled", [[0, 1], [EMPTY], [EMPTY, 1]])
def test_every_head_learns_from_every_batch(data, model, labelled, pairs, progress):
    objective = Objective(model, SPEC, Method())
    losses = objective(batch_of(data, labelled, pairs), progress)
    assert set(losses) == SUPERVISED | (set(CONSENSUS_PARTS) if pairs else set())
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("pairs", [[], [1]])
@pytest.mark.parametrize("boxed", [[0], [2], [0, 1, 2], [EMPTY], [EMPTY, 1]])
def test_images_with_2d_boxes_add_their_losses(data, model, boxed, pairs):
    batch = batch_of(data, [0, 1], pairs, boxed)
    losses = Objective(model, SPEC, Method())(batch, 1.0)
    assert set(losses) == SUPERVISED | set(CONSENSUS_PARTS) | BOXES
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    assert losses["boxes_hm"] > 0
    for name in BOXES - {"boxes_hm"}:
        assert (losses[name] > 0) == (len(batch.boxed.objects) > 0), name
    sum(losses[name] for name in BOXES).backward()
    taught = {
        n.split(".")[1]
        for n, p in model.heads.named_parameters(prefix="heads")
        if p.grad is not None
    }
    assert taught == {"hm", "hps", "wh", "reg"}
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_2d_boxes_teach_at_once_and_as_much_as_the_method_says(data, model):
    batch = batch_of(data, [0], [1], [0, 1, 2])
    default, early, half, none = (
        Objective(model, SPEC, Method(extent_weight=weight))(batch, progress)
        for weight, progress in ((1.0, 1.0), (1.0, 0.0), (0.5, 1.0), (0.0, 1.0))
    )
    assert default["boxes_hps"] > 0
    for name in SUPERVISED | set(CONSENSUS_PARTS) | BOXES:
        factor = 1.0 if name != "boxes_hps" else 0.5
        torch.testing.assert_close(half[name], default[name] * factor, msg=name)
        off = name == "boxes_hps"
        torch.testing.assert_close(none[name], default[name] * (not off), msg=name)
    for name in BOXES:
        torch.testing.assert_close(early[name], default[name], msg=name)


@torch.no_grad()
def test_2d_boxes_do_not_change_what_the_labels_teach(data, model):
    objective = Objective(model, SPEC, Method())
    alone = objective(batch_of(data, [0, 1], []), 1.0)
    mixed = objective(batch_of(data, [0, 1], [2], [0, 1, 2]), 1.0)
    for name, value in alone.items():
        torch.testing.assert_close(mixed[name], value, rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_unlabelled_images_do_not_change_what_2d_boxes_teach(data, model):
    objective = Objective(model, SPEC, Method())
    alone = objective(batch_of(data, [0, 1], [], [0, 1, 2]), 1.0)
    mixed = objective(batch_of(data, [EMPTY], [2, 1], [0, 1, 2]), 1.0)
    for name in BOXES:
        torch.testing.assert_close(mixed[name], alone[name], rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_losses_of_2d_boxes_are_per_object(data, model):
    objective = Objective(model, SPEC, Method())
    once = objective(batch_of(data, [0], [], [0, 1, 2]), 1.0)
    twice = objective(batch_of(data, [0], [], [0, 1, 2] * 2), 1.0)
    for name in BOXES:
        torch.testing.assert_close(twice[name], once[name], rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_box_heads_learn_the_2d_boxes_of_both_views(data, model):
    batch = batch_of(data, [0], [1], [0, 2])
    objects = batch.boxed.objects
    changed = KM3DNet(SPEC)
    changed.load_state_dict(model.state_dict())
    for name in ("wh", "reg"):
        changed.heads[name][-1].weight.zero_()
    changed.heads["wh"][-1].bias.copy_(torch.tensor([3.0, 2.0]))
    changed.heads["reg"][-1].bias.copy_(torch.tensor([0.25, 0.5]))
    losses = Objective(changed, SPEC, Method())(batch, 0.0)
    for name, truth, said in (
        ("wh", objects.box_size, (3, 2)),
        ("reg", objects.box_center, (0.25, 0.5)),
    ):
        error = (truth - torch.tensor(said)).abs().sum() / len(objects) * WEIGHTS[name]
        torch.testing.assert_close(losses[f"boxes_{name}"], error, rtol=1e-3, atol=0)
    assert {0, 3} <= set(objects.batch.tolist())  # the first views, then the second ones


def test_batch_without_objects_teaches_that_there_is_nothing(data, model):
    losses = Objective(model, SPEC, Method())(batch_of(data, [EMPTY], []), 1.0)
    for name, value in losses.items():
        assert (value > 0) == (name in ("hm", "hm_hp")), name


def test_learning_how_far_off_it_is_does_not_change_the_features(data, model):
    losses = Objective(model, SPEC, Method())(batch_of(data, [0, 1], []), 1.0)
    losses["depth_error"].backward()
    taught = {name for name, value in model.named_parameters() if value.grad is not None}
    assert taught == {
        f"heads.depth_error.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")
    }


def test_a_head_learns_alone_where_it_is_asked_for(data):
    model = KM3DNet(SPEC)
    model.backbone.append(nn.BatchNorm2d(Small.out_channels))
    objective = Objective(model, SPEC, Method(trained="depth_error")).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = objective(batch_of(data, [0, 1], [2]), 1.0)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("heads.depth_error."), name
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_model_of_the_inference_heads_alone_is_trained_too(data):
    spec = replace(SPEC, heads=INFERENCE_HEADS)
    losses = Objective(KM3DNet(spec), spec, Method())(batch_of(data, [0, 1], [2]), 1.0)
    assert set(losses) == {*INFERENCE_HEADS, "position", *CONSENSUS_PARTS}


@torch.no_grad()
def test_losses_are_per_object(data, model):
    objective = Objective(model, SPEC, Method())
    once = objective(batch_of(data, [0, 1], []), 1.0)
    twice = objective(batch_of(data, [0, 1, 0, 1], []), 1.0)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value, rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_labels_do_not_change_what_the_unlabelled_images_teach(data, model):
    objective = Objective(_believing(model), SPEC, Method())
    losses = [objective(batch_of(data, images, [2, 0]), 1.0) for images in ([0, 1], [EMPTY])]
    for name in CONSENSUS_PARTS:
        assert losses[0][name] > 0
        torch.testing.assert_close(losses[0][name], losses[1][name], msg=name)


@torch.no_grad()
def test_position_and_consensus_grow_to_their_weights(data, model):
    model = _believing(model)
    batch = batch_of(data, [0, 1], [2, 0])
    losses = {
        progress: Objective(model, SPEC, Method())(batch, progress) for progress in (0.05, 0.2, 1)
    }
    for name, full in losses[1].items():
        grows = name == "position" or name in CONSENSUS_PARTS
        assert full > 0, name
        for progress, part in ((0.05, 0.0), (0.2, math.exp(-1.25))):
            expected = full * part if grows else full
            torch.testing.assert_close(losses[progress][name], expected, msg=name)


@torch.no_grad()
def test_method_sets_the_weights(data, model):
    model = _believing(model)
    batch = batch_of(data, [0, 1], [2, 0])
    default = Objective(model, SPEC, Method())(batch, 1.0)
    other = Objective(model, SPEC, Method(position_weight=6.0, consensus_weight=0.5))(batch, 1.0)
    none = Objective(model, SPEC, Method(position_weight=0.0, consensus_weight=0.0))(batch, 1.0)
    for name, value in default.items():
        of_consensus = name in CONSENSUS_PARTS
        factor = 3.0 if name == "position" else 0.5 if of_consensus else 1.0
        torch.testing.assert_close(other[name], value * factor, msg=name)
        off = of_consensus or name == "position"
        torch.testing.assert_close(none[name], value * (not off), msg=name)
    plain = Objective(model, SPEC, Method(depth_guided=False))(batch, 1.0)
    assert {n for n in plain if not torch.equal(plain[n], default[n])} == {"hps"}


def _believing(model: KM3DNet) -> KM3DNet:
    """The network, with objects about as far as those of the frames wherever one looks."""
    changed = KM3DNet(SPEC)
    changed.load_state_dict(model.state_dict())
    changed.heads["hm"][-1].bias.fill_(2.0)
    bottom = torch.tensor([(6.0, 2.2), (5.5, 2.0), (-5.5, 2.0), (-6.0, 2.2)])
    top = bottom * torch.tensor([1, -1])
    corners = torch.cat((bottom, top, torch.zeros(1, 2)))
    changed.heads["hps"][-1].bias.copy_(corners.flatten())
    return changed


@torch.no_grad()
def test_offset_of_keypoints_is_where_they_lie_in_their_cells(data, model):
    changed = KM3DNet(SPEC)
    changed.load_state_dict(model.state_dict())
    last = changed.heads["hp_offset"][-1]
    last.weight.zero_()
    last.bias.copy_(torch.tensor([0.25, 0.5]))
    batch = batch_of(data, [0, 1], [])
    objects = batch.labelled.targets.objects
    points = torch.stack((objects.x, objects.y), -1)[:, None] + objects.keypoints
    seen = ((points >= 0) & (points < torch.tensor([40, 16]))).all(-1)
    assert seen.sum() > 8
    error = (points[seen] % 1 - torch.tensor([0.25, 0.5])).abs().sum()
    expected = error / 9 / len(objects) * WEIGHTS["hp_offset"]
    loss = Objective(changed, SPEC, Method())(batch, 1.0)["hp_offset"]
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)


def test_images_are_normalised_as_for_inference(data, model):
    objective = Objective(model, SPEC, Method())
    batch = batch_of(data, [0], [])
    seen = []
    hook = model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    objective(batch, 0.0)
    hook.remove()
    levels = batch.labelled.images.float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (SPEC.mean, SPEC.std))
    torch.testing.assert_close(seen[0], (levels - mean) / std, rtol=1e-4, atol=1e-5)


def test_weights_name_all_heads():
    assert set(WEIGHTS) == set(HEAD_CHANNELS)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 0), (0.099, 0), (0.1, math.exp(-5)), (0.2, math.exp(-1.25)), (0.3, 1), (1.0, 1)],
)
def test_ramp(progress, expected):
    assert exponential_ramp(progress) == pytest.approx(expected)


def test_keypoints_in_neutral_regions_are_not_punished(data, model):
    batch = batch_of(data, [0, 1], [])
    targets = batch.labelled.targets
    neutral = replace(targets, care=torch.zeros_like(targets.care))
    objective = Objective(model, SPEC, Method())
    lenient = objective(replace(batch, labelled=replace(batch.labelled, targets=neutral)), 0.5)
    assert lenient["hm_hp"] < objective(batch, 0.5)["hm_hp"]
    assert lenient["hm_hp"] > 0
