import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.frames import CAMERA, write_frames
from support.full_disk import full_disk

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.errors import InputError
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.training.dataset import Sources
from km3d_ros.training.initial_weights import new_spec
from km3d_ros.training.settings import Method, Plan
from km3d_ros.training.state import Log, identity_of, read_state, write_state

STATE = {"identity": {"seed": 1}, "weights": torch.arange(100_000.0)}


def test_state_comes_back(tmp_path):
    write_state(tmp_path / "state.pt", STATE)
    state = read_state(tmp_path / "state.pt", {"seed": 1})
    assert torch.equal(state["weights"], STATE["weights"])
    assert read_state(tmp_path / "none.pt", {"seed": 1}) is None


def test_full_disk_leaves_the_former_state(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, {"identity": {}, "step": 1})
    refusal = pytest.raises(InputError, match=r"state\.pt: cannot be written \(File too large\)")
    with refusal, full_disk(100_000):
        write_state(path, STATE)
    assert read_state(path, {})["step"] == 1
    assert os.listdir(tmp_path) == ["state.pt"]


def test_log_that_cannot_be_written_is_named():
    with pytest.raises(InputError, match=r"/dev/full: cannot be written \(No space left"):
        Log(Path("/dev/full")).append({"step": 1})


class Code:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [b"", b"cut short", Code(), [1], {"identity": 5}, {}])
def test_damaged_state_is_named(tmp_path, capsys, content):
    path = tmp_path / "state.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError) as caught:
        read_state(path, {})
    assert str(caught.value) == f"{path}: not a state of a training"
    assert capsys.readouterr().out == ""


def test_state_of_another_training_is_refused_with_what_differs(tmp_path):
    write_state(tmp_path / "state.pt", {"identity": {"seed": 1, "flip": True, "batch_size": 2}})
    other = {"seed": 1, "flip": False, "batch_size": 4}
    with pytest.raises(InputError) as caught:
        read_state(tmp_path / "state.pt", other)
    assert str(caught.value).endswith(
        "belongs to another training: flip is False instead of True; batch_size is 4 instead of 2"
    )


def test_identity_is_about_data_method_and_model(tmp_path):
    spec = new_spec("lite", (64, 128))
    few, many = (KittiDataset(write_frames(tmp_path / str(n), n)) for n in (3, 4))

    torch.manual_seed(0)
    model, other_model = KM3DNet(spec), KM3DNet(spec)

    def differs(**changes):
        usual = {"model": model, "spec": spec, "plan": Plan(), "method": Method()}
        usual |= {"sources": Sources(many), "validation": None}
        same, other = identity_of(**usual), identity_of(**usual | changes)
        return {name for name in same if same[name] != other[name]}

    assert differs(plan=Plan(steps=7, workers=3)) == set()
    assert differs(plan=Plan(seed=3), method=Method(flip=False)) == {"seed", "flip"}
    assert differs(sources=Sources(few)) == {"labelled data"}
    unlabelled, boxed = Sources(many, unlabelled=few), Sources(many, boxed=few)
    assert differs(sources=unlabelled) == {"unlabelled data", "unlabelled_batch_size"}
    assert differs(sources=boxed) == {"boxed data", "boxes_batch_size"}
    first, second = (Sources([replace(many[0], camera=camera)]) for camera in (None, CAMERA))
    usual = {"model": model, "spec": spec, "plan": Plan(), "method": Method(), "validation": None}
    assert identity_of(sources=first, **usual) != identity_of(sources=second, **usual)
    assert differs(validation=few) == {"validation data"}
    assert differs(spec=new_spec("lite", (64, 160))) == {"input_size"}
    assert differs(model=other_model) == {"start"}


def test_log_grows_by_lines_and_can_be_set_back(tmp_path):
    log = Log(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("of a former training\n")
    log.append({"step": 1, "hm": 0.5})
    former = log.text
    log.append({"step": 2, "hm": 0.25})
    assert (tmp_path / "log.csv").read_text() == "step,hm\n1,0.5\n2,0.25\n"
    log.set_back(former)
    log.append({"step": 2, "hm": 0.125})
    assert (tmp_path / "log.csv").read_text() == "step,hm\n1,0.5\n2,0.125\n"
