import csv
import errno
import io
import os
import signal
import sys
from dataclasses import replace
from itertools import count

import cv2
import pytest
import torch
from support.frames import write_frames
from torch.utils.data import Subset

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.network.checkpoint import load
from km3d_ros.training import processes
from km3d_ros.training.dataset import Sources
from km3d_ros.training.fit import Judge, fit
from km3d_ros.training.initial_weights import new_model, new_spec
from km3d_ros.training.settings import Method, Plan

SPEC = new_spec("lite", (64, 128))
CPU = torch.device("cpu")
LOSSES = {"hm", "hps", "dim", "rot", "position", "prob", "wh", "reg", "hm_hp", "hp_offset"}
LOSSES |= {"depth_error"}
BOXES = {f"boxes_{name}" for name in ("hm", "hps", "wh", "reg")}
CONSENSUS = {f"consensus_{part}" for part in ("peak", "size", "yaw", "position")}


def train(
    frames, run, steps, unlabelled=None, boxed=None, judge=None, method=None, start=0, **plan
):
    torch.manual_seed(start)
    settings = {
        "batch_size": 2,
        "unlabelled_batch_size": 2,
        "boxes_batch_size": 2,
        "workers": 0,
        "log_every": 1,
    } | plan
    method = method or Method()
    plan = Plan(steps, **settings)
    return fit(
        new_model(SPEC), SPEC, Sources(frames, unlabelled, boxed), plan, method, run, CPU, judge
    )


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return KittiDataset(write_frames(tmp_path_factory.mktemp("data"), 5))


def log_of(run, name="log"):
    with (run / f"{name}.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_log_has_a_line_per_step_with_every_loss(frames, tmp_path):
    train(frames, tmp_path, 2)
    rows = log_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2]
    assert set(rows[0]) == {"step", "rate"} | LOSSES


def test_unlabelled_frames_add_their_losses(frames, tmp_path):
    train(frames, tmp_path, 2, unlabelled=frames)
    assert set(log_of(tmp_path)[1]) == {"step", "rate"} | LOSSES | CONSENSUS


def test_boxed_frames_add_their_losses(frames, tmp_path):
    boxed = open_boxes([frames.root], SPEC.classes)
    train(frames, tmp_path / "boxed", 2, boxed=boxed)
    train(frames, tmp_path / "both", 2, unlabelled=frames, boxed=boxed)
    for run in ("boxed", "both"):
        row = log_of(tmp_path / run)[1]
        assert set(row) == {"step", "rate"} | LOSSES | CONSENSUS | BOXES
        assert row["boxes_hm"] > 0


def test_training_goes_on_with_the_same_boxed_frames(frames, tmp_path):
    boxed = open_boxes([frames.root], SPEC.classes)
    train(frames, tmp_path, 1, boxed=boxed)
    with pytest.raises(InputError, match=r"boxed data is 4 frames \w+ instead of 5 frames \w+$"):
        train(frames, tmp_path, 2, boxed=Subset(boxed, range(4)))
    with pytest.raises(InputError, match=r"boxes_batch_size is 1 instead of 2$"):
        train(frames, tmp_path, 2, boxed=boxed, boxes_batch_size=1)
    train(frames, tmp_path, 2, boxed=boxed)
    assert [row["step"] for row in log_of(tmp_path)] == [1, 2]


def test_boxed_frames_of_a_bad_step_are_named(frames, tmp_path):
    boxed = [replace(f, name="street") for f in open_boxes([frames.root], SPEC.classes)]
    with pytest.raises(FloatingPointError, match=r"frames: 00000\d, 00000\d, street, street$"):
        train(frames, tmp_path, 20, boxed=boxed, learning_rate=1e30)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_fits_into_a_line_of_80_columns(frames, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    train(frames, tmp_path, 2, unlabelled=frames)
    shown = sys.stderr.getvalue().replace("\n", "\r").split("\r")
    last = log_of(tmp_path)[-1]
    total = sum(last[name] for name in LOSSES | CONSENSUS)
    assert f", loss={total:.3g}]" in shown[-2]
    # As long as five digits of steps, and hours, make them.
    assert max(map(len, shown)) <= 80 - 2 * len("2000") - 2 * len("00:")


def test_log_gives_means_over_its_steps(frames, tmp_path):
    train(frames, tmp_path / "each", 3)
    train(frames, tmp_path / "two", 3, log_every=2)
    first, second, third = (row["hm"] for row in log_of(tmp_path / "each"))
    expected = [pytest.approx((first + second) / 2), pytest.approx(third)]
    assert [row["hm"] for row in log_of(tmp_path / "two")] == expected


def test_generic_filters_stay_as_imagenet_left_them(frames, tmp_path):
    before = new_model(SPEC).backbone
    after = train(frames, tmp_path, 2).backbone
    assert torch.equal(before.stem.weight, after.stem.weight)
    assert torch.equal(before.blocks[3].project.weight, after.blocks[3].project.weight)
    assert torch.equal(before.blocks[9].depthwise.weight, after.blocks[9].depthwise.weight)
    assert not torch.equal(before.blocks[4].project.weight, after.blocks[4].project.weight)


def test_half_precision_trains_the_same_losses(frames, tmp_path):
    for precision in ("float32", "bfloat16"):
        train(frames, tmp_path / precision, 2, precision=precision)
    full, half = (log_of(tmp_path / name) for name in ("float32", "bfloat16"))
    assert half[0]["hm"] == pytest.approx(full[0]["hm"], rel=0.02)
    assert half[1]["hm"] != full[1]["hm"]


def test_more_steps_may_be_asked_for_but_nothing_else_changed(frames, tmp_path):
    train(frames, tmp_path, 1)
    train(frames, tmp_path, 2)
    assert [row["step"] for row in log_of(tmp_path)] == [1, 2]
    with pytest.raises(InputError, match=r"another training: seed is 5 instead of 0$"):
        train(frames, tmp_path, 3, seed=5)


def test_training_goes_on_from_the_weights_that_it_started_with(frames, tmp_path):
    train(frames, tmp_path, 1)
    with pytest.raises(
        InputError, match=r"training: start is weights \w+ instead of weights \w+$"
    ):
        train(frames, tmp_path, 2, start=1)


def test_training_goes_on_with_the_frames_that_it_is_judged_by(frames, tmp_path):
    def judged_by(*names):
        judge = Judge(Subset(frames, names), lambda model: {"ap": 1.0})
        return {"judge": judge, "validate_every": 1}

    train(frames, tmp_path, 1, **judged_by(0, 1))
    train(frames, tmp_path, 2, **judged_by(0, 1))
    for other in (judged_by(0, 2), {}):
        with pytest.raises(
            InputError, match=r"validation data is (2 frames|none).* instead of 2 f"
        ):
            train(frames, tmp_path, 3, **other)


def test_loss_that_is_not_finite_stops_the_training_and_names_the_frames(frames, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step \d+: .*\(.*hm .*frames: 00000\d, 0000"):
        train(frames, tmp_path, 20, learning_rate=1e30)


def test_best_of_the_validated_weights_are_the_result(frames, tmp_path):
    scores = iter([1.0, 5.0, 5.0, 2.0])
    seen = []

    def figures(model):
        seen.append(model.state_dict()["heads.hm.2.bias"].clone())
        return {"ap": next(scores), "depth": 0.1}

    best = train(frames, tmp_path, 4, judge=Judge(frames, figures), validate_every=1)
    assert log_of(tmp_path, "validation") == [
        {"step": i + 1, "ap": score, "depth": 0.1} for i, score in enumerate((1, 5, 5, 2))
    ]
    # Of the two with the same score, the later one.
    assert torch.equal(best.state_dict()["heads.hm.2.bias"], seen[2])
    assert not torch.equal(seen[1], seen[2])
    kept, _ = load(tmp_path / "best.safetensors")
    assert torch.equal(kept.state_dict()["heads.hm.2.bias"], seen[2])


def test_without_periodic_validation_the_last_weights_are_the_result(frames, tmp_path):
    train(frames, tmp_path, 2, judge=Judge(frames, lambda model: pytest.fail("asked")))
    assert not (tmp_path / "best.safetensors").exists()


def test_frames_without_objects_can_be_learned_from(tmp_path):
    folder = write_frames(tmp_path / "data", 4)
    for label in (folder / "label_2").iterdir():
        label.write_text("")
    train(KittiDataset(folder), tmp_path / "run", 2, unlabelled=KittiDataset(folder))
    assert all(row["hps"] == 0 and row["hm"] > 0 for row in log_of(tmp_path / "run"))


def test_no_frames_is_an_error(frames, tmp_path):
    with pytest.raises(InputError, match="no labelled frames"):
        train(Subset(frames, []), tmp_path, 1)
    with pytest.raises(InputError, match="no unlabelled frames"):
        train(frames, tmp_path, 1, unlabelled=Subset(frames, []))
    with pytest.raises(InputError, match="no boxed frames"):
        train(frames, tmp_path, 1, boxed=[])


def test_unreadable_frame_is_named_and_nothing_is_lost(tmp_path):
    folder = write_frames(tmp_path / "data", 5)
    names = ["000001", "000002"]
    images = [folder / "image_2" / f"{name}.png" for name in names]
    whole = [path.read_bytes() for path in images]
    for path in images:
        # The size, by which data sets are told apart, stays.
        path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(InputError, match=r"00000[12]\.png: not a readable PNG or JPEG image"):
        train(KittiDataset(folder), tmp_path / "run", 5)
    state = torch.load(tmp_path / "run" / "state.pt")
    for path, content in zip(images, whole, strict=True):
        path.write_bytes(content)
    train(KittiDataset(folder), tmp_path / "run", 5)
    assert state["step"] == len(state["logs"]["log"].splitlines()[1:])
    assert [row["step"] for row in log_of(tmp_path / "run")] == [1, 2, 3, 4, 5]


def test_state_without_a_part_is_named(frames, tmp_path):
    train(frames, tmp_path, 1)
    path = tmp_path / "state.pt"
    state = torch.load(path)
    for part in ("model", "average", "optimizer", "sums", "logs", "step"):
        for other in ({}, {part: {"x": {}}}):
            torch.save({key: value for key, value in state.items() if key != part} | other, path)
            with pytest.raises(InputError, match=r"state\.pt: not the state of this training$"):
                train(frames, tmp_path, 2)


def test_full_disk_ends_the_training_but_loses_nothing_saved(frames, tmp_path, monkeypatch):
    train(frames, tmp_path / "whole", 3)
    writes = count(1)

    def full_at_the_second_state(file):
        if next(writes) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_at_the_second_state)
    with pytest.raises(InputError, match=r"state\.pt: cannot be written \(No space left"):
        train(frames, tmp_path / "cut", 3, save_every=1)
    assert torch.load(tmp_path / "cut" / "state.pt")["step"] == 1
    train(frames, tmp_path / "cut", 3)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")


def test_ctrl_c_saves_what_was_learned(frames, tmp_path, monkeypatch):
    whole = train(frames, tmp_path / "whole", 3)
    real, images = cv2.imdecode, count()

    def interrupted_by_the_third_image(*args):
        if next(images) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(cv2, "imdecode", interrupted_by_the_third_image)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 1; the same command"):
        train(frames, tmp_path / "cut", 3)
    resumed = train(frames, tmp_path / "cut", 3)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_batches_that_processes_cannot_share_are_refused(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(
        InputError, match=r"^batch_size is 3, expected a multiple of the 2 processes$"
    ):
        train(frames, tmp_path, 1, batch_size=3)
