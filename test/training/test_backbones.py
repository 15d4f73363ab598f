import pytest
import torch
from support.frames import write_frames

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.training.dataset import Sources, TrainingViews, collate
from km3d_ros.training.initial_weights import new_model, new_spec
from km3d_ros.training.objective import Objective
from km3d_ros.training.optimizer import new_optimizer
from km3d_ros.training.sampler import Key, Kind
from km3d_ros.training.settings import Method


@pytest.mark.parametrize("architecture", ["dla_34", "res_18"])
def test_every_layer_of_a_published_backbone_learns_from_the_first_step_on(tmp_path, architecture):
    torch.manual_seed(0)
    frames = KittiDataset(write_frames(tmp_path / "frames", 3))
    spec, method = new_spec(architecture, (64, 128)), Method()
    views = TrainingViews(Sources(frames), spec, method, seed=0)
    model = new_model(spec).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = new_optimizer(model, 1e-3)

    losses = Objective(model, spec, method)(
        collate([views[Key(Kind.LABELLED, 0, i)] for i in (0, 1)]), 1.0
    )
    sum(losses.values()).backward()
    optimizer.step()

    same = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert same == []
    assert all(value.isfinite().all() for value in model.parameters())
