import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint, published, torch_file

PUBLISHED = {
    name: json.loads((Path(__file__).parent / f"published_{name}.json").read_text())
    for name in ("dla_34", "res_18")
}
"""Names and shapes of published checkpoints, and what the published networks make of `pixels`
with the weights of `published_state`: their values at one cell of each head."""


def pixels() -> torch.Tensor:
    values = np.random.RandomState(0).uniform(-2, 2, (1, 3, 64, 96))
    return torch.tensor(values, dtype=torch.float32)


def published_state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Pseudo-random weights that keep the activations of the network near one."""
    state = {}
    for seed, (key, shape) in enumerate(sorted(shapes.items())):
        values = np.random.RandomState(seed).uniform(-1, 1, shape)
        if key.endswith("running_var"):
            values = 1.5 + values
        elif len(shape) == 4:
            values = values * np.sqrt(6 / np.prod(shape[1:]))
        elif key.endswith("weight"):
            values = 1 + 0.2 * values
        else:
            values = 0.1 * values
        state[key] = torch.tensor(values, dtype=torch.float32)
    return state


def save_published(path: Path, state: dict[str, torch.Tensor]) -> Path:
    renamed = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 120, "state_dict": renamed}, path)
    return path


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    return {name: published_state(of["shapes"]) for name, of in PUBLISHED.items()}


@pytest.fixture(scope="module")
def state(states) -> dict[str, torch.Tensor]:
    return states["res_18"]


@pytest.mark.parametrize(("architecture", "width"), [("dla_34", 256), ("res_18", 64)])
def test_published_weights_give_the_published_outputs(tmp_path, states, architecture, width):
    path = save_published(tmp_path / "published.pth", states[architecture])
    converted, spec = published.convert(path)
    assert (spec.architecture, spec.head_width) == (architecture, width)
    assert not converted.training
    checkpoint.save(tmp_path / "ours.safetensors", converted, spec)
    model, loaded_spec = checkpoint.load(tmp_path / "ours.safetensors")
    assert loaded_spec == spec
    # Random weights as deep as these blow rounding up; in float64 there is none to speak of.
    with torch.inference_mode():
        outputs = model.double()(pixels().double())
    expected = PUBLISHED[architecture]
    assert outputs.keys() == expected["outputs"].keys()
    y, x = expected["cell"]
    for name, values in expected["outputs"].items():
        values = torch.tensor(values, dtype=torch.float64)
        torch.testing.assert_close(outputs[name][0, :, y, x], values, rtol=0, atol=2e-5)


def test_published_weights_without_auxiliary_heads_convert(tmp_path, state):
    auxiliary = ("wh.", "reg.", "hm_hp.", "hp_offset.")
    needed = {key: value for key, value in state.items() if not key.startswith(auxiliary)}
    _, spec = published.convert(save_published(tmp_path / "res_18.pth", needed))
    assert spec.heads == ("hm", "hps", "dim", "rot", "prob")


def test_every_misfit_of_a_published_checkpoint_is_named(tmp_path, state):
    wrong = dict(state)
    del wrong["layer3.0.conv1.weight"], wrong["deconv_layers.4.running_mean"]
    wrong["depth.0.bias"] = torch.zeros(1)
    wrong["hm.2.weight"] = torch.zeros(10, 64, 1, 1)
    with pytest.raises(InputError) as raised:
        published.convert(save_published(tmp_path / "wrong.pth", wrong))
    assert str(raised.value) == (
        f"{tmp_path}/wrong.pth: does not fit res_18: "
        "missing: deconv_layers.4.running_mean, layer3.0.conv1.weight; "
        "not known: depth.0.bias; "
        "wrong shape: hm.2.weight (10, 64, 1, 1) instead of (3, 64, 1, 1)"
    )


def test_many_misfits_are_counted(tmp_path):
    path = save_published(tmp_path / "foreign.pth", {"a.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"missing: (\S+, ){3}and \d+ more; not known: a.weight"):
        published.convert(path)


def test_misfits_of_a_dla_34_checkpoint_bear_their_published_names(tmp_path, states):
    wrong = dict(states["dla_34"])
    del wrong["base.level3.tree2.root.bn.bias"], wrong["ida_up.node_2.actf.0.running_var"]
    wrong["dla_up.ida_1.proj_2.conv.conv_offset_mask.weight"] = torch.zeros(18, 256, 3, 3)
    wrong["base.level2.tree3.conv1.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as raised:
        published.convert(save_published(tmp_path / "wrong.pth", wrong))
    assert str(raised.value) == (
        f"{tmp_path}/wrong.pth: does not fit dla_34: "
        "missing: base.level3.tree2.root.bn.bias, ida_up.node_2.actf.0.running_var; "
        "not known: base.level2.tree3.conv1.weight; "
        "wrong shape: dla_up.ida_1.proj_2.conv.conv_offset_mask.weight (18, 256, 3, 3) instead "
        "of (27, 256, 3, 3)"
    )


def test_a_pickle_with_code_is_refused(tmp_path):
    path = tmp_path / "code.pth"
    torch.save({"state_dict": {"conv1.weight": Path("anything")}}, path)
    with pytest.raises(InputError, match=r"code\.pth: damaged, or not a PyTorch file of plain"):
        published.convert(path)


def test_a_file_without_state_dict_is_refused(tmp_path):
    for content in ({"epoch": 3}, {"state_dict": {"lr": 0.1}}, [torch.zeros(1)], {}):
        torch.save(content, tmp_path / "none.pth")
        with pytest.raises(InputError, match=r"none\.pth: (not a published|does not fit any of)"):
            published.convert(tmp_path / "none.pth")


def wrap(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda state: state,
        lambda state: {"state_dict": wrap(state, "module.module.")},
        lambda state: {"model_state_dict": wrap(state, "_orig_mod.module."), "epoch": 3},
        lambda state: {"model": wrap(state, "module._orig_mod."), "optimizer": {"lr": 0.1}},
        lambda state: {
            "state_dict": state,
            "best": np.float64(0.5),
            "steps": np.int32(7),
            "converged": np.bool_(True),
            "opt": argparse.Namespace(lr=np.float32(0.1), arch="res_18", gpus=[0]),
        },
    ],
    ids=["bare", "parallel twice", "compiled", "under model", "options and numpy scalars"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_published_checkpoints_convert(tmp_path, state, content, zipped):
    path = tmp_path / "wrapped.pth"
    torch.save(content(state), path, _use_new_zipfile_serialization=zipped)
    model, spec = published.convert(path)
    assert spec.architecture == "res_18"
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], state["conv1.weight"])


def test_scalars_and_options_are_read_as_plain_values(tmp_path):
    values = {"a": np.float64(0.1), "b": np.int16(-3), "c": np.bool_(True), "d": np.float32(0.5)}
    torch.save({**values, "opt": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth")
    read = torch_file.read(tmp_path / "a.pth")
    assert read.pop("opt") == argparse.Namespace(lr=0.1)
    assert read == {"a": 0.1, "b": -3, "c": True, "d": 0.5}
    assert {type(value) for value in read.values()} == {float, int, bool}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Path("a"), r"pathlib\.\S*PosixPath"),
        (np.zeros(3), r"numpy\.\S*_reconstruct"),
        (torch.nn.Linear(1, 1), r"torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_value_of_another_type_is_named(tmp_path, value, name):
    torch.save({"state_dict": {}, "value": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth: damaged, or .* \(it holds a {name}\)$"):
        published.convert(tmp_path / "a.pth")


def test_foreign_weights_are_told_what_can_be_converted(tmp_path):
    resnet = {f"encoder.{key}": torch.zeros(1) for key in ("conv1.weight", "layer1.0.bn1.bias")}
    torch.save(resnet, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"resnet\.pth: does not fit any of dla_34, res_18 \("):
        published.convert(tmp_path / "resnet.pth")
