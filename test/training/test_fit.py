import csv
import math

import pytest
import torch
from support.frames import write_frames

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.training.dataset import EpochOrder
from km3d_ros.training.fit import Plan, fit, position_ramp, rate_factor
from km3d_ros.training.start import new_model, new_spec

SPEC = new_spec("lite", (64, 128))
CPU = torch.device("cpu")


def train(frames, run, steps, **plan):
    torch.manual_seed(0)
    settings = {"batch_size": 2, "workers": 0, "log_every": 1, "save_every": 1} | plan
    return fit(new_model(SPEC), SPEC, frames, Plan(steps, **settings), run, CPU)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return KittiDataset(write_frames(tmp_path_factory.mktemp("data"), 5))


def test_training_interrupted_by_an_error_goes_on_to_the_same_weights(
    frames, tmp_path, monkeypatch
):
    whole = train(frames, tmp_path / "whole", 4)

    read = AugmentedFramesReader(monkeypatch, fails_at=5)
    with pytest.raises(OSError, match="unplugged"):
        train(frames, tmp_path / "cut", 4)
    read.mend()
    resumed = train(frames, tmp_path / "cut", 4)

    for (name, a), b in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=name)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")


class AugmentedFramesReader:
    """Lets the reading of images fail at the n-th frame."""

    def __init__(self, monkeypatch, fails_at):
        from km3d_ros.training import dataset

        self.real, self.left, self.patch = dataset.read_image, fails_at, monkeypatch
        monkeypatch.setattr(dataset, "read_image", self)

    def __call__(self, path):
        self.left -= 1
        if self.left == 0:
            raise OSError("unplugged")
        return self.real(path)

    def mend(self):
        self.left = math.inf


def log_of(run):
    with (run / "log.csv").open() as file:
        return [{k: round(float(v), 4) for k, v in row.items()} for row in csv.DictReader(file)]


def test_log_has_a_line_per_step_with_every_loss(frames, tmp_path):
    train(frames, tmp_path, 2)
    rows = log_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2]
    assert set(rows[0]) == {"step", "rate", "hm", "hps", "dim", "rot", "position", "prob"}


def test_early_stages_stay_as_imagenet_left_them(frames, tmp_path):
    before = new_model(SPEC).backbone
    after = train(frames, tmp_path, 2).backbone
    assert torch.equal(before.stem.weight, after.stem.weight)
    assert torch.equal(before.blocks[2].project.weight, after.blocks[2].project.weight)
    assert not torch.equal(before.blocks[3].project.weight, after.blocks[3].project.weight)


def test_state_of_another_architecture_is_refused(frames, tmp_path):
    torch.save({"step": 1, "model": {"foreign": torch.zeros(1)}}, tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: not a state of this training"):
        train(frames, tmp_path, 2)


def test_loss_that_is_not_finite_stops_the_training(frames, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step .*: loss hm"):
        train(frames, tmp_path, 20, learning_rate=1e30)


def test_every_frame_is_seen_once_an_epoch_in_an_order_of_its_own():
    batches = list(EpochOrder(frames=6, batch_size=4, start=0, steps=3, seed=1))
    flat = [key for batch in batches for key in batch]
    assert sorted(flat) == [(epoch, i) for epoch in (0, 1) for i in range(6)]
    assert [i for _, i in flat[:6]] != [i for _, i in flat[6:]]
    assert list(EpochOrder(6, 4, start=2, steps=3, seed=1)) == batches[2:]


def test_learning_rate_warms_up_stays_and_falls_to_zero():
    factors = [rate_factor(step, 10000) for step in (0, 299, 5999, 8000, 9999)]
    assert factors[0] == pytest.approx(1 / 300)
    assert factors[1] == factors[2] == 1
    assert factors[3] == pytest.approx(0.5)
    assert factors[4] == pytest.approx(0, abs=1e-6)


def test_position_loss_begins_after_the_warm_up():
    assert [position_ramp(step, 100) for step in (9, 30, 99)] == [0, 1, 1]
    assert 0 < position_ramp(20, 100) < 1
