import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint, torch_file
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec, Noise

PUBLISHED = {
    name: json.loads((Path(__file__).parent / f"published_{name}.json").read_text())
    for name in ("dla_34", "res_18")
}
"""Names and shapes of published checkpoints, and what the published networks make of `pixels`
with the weights of `published_state`: their values at one cell of each head."""

SPEC = ModelSpec(
    "lite",
    input_size=(64, 96),
    channel_order="rgb",
    dimension_mean=((1.5, 1.6, 3.9), (1.7, 0.6, 0.8), (1.7, 0.6, 1.8)),
    dimension_spread=((0.1, 0.1, 0.1),) * 3,
    noise=Noise(sideways=0.1),
    training={"seed": 7},
)


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


def pixels() -> torch.Tensor:
    values = np.random.RandomState(0).uniform(-2, 2, (1, 3, 64, 96))
    return torch.tensor(values, dtype=torch.float32)


def save_published(path: Path, state: dict[str, torch.Tensor]) -> Path:
    renamed = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 120, "state_dict": renamed}, path)
    return path


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    return {name: published_state(published["shapes"]) for name, published in PUBLISHED.items()}


@pytest.fixture(scope="module")
def state(states) -> dict[str, torch.Tensor]:
    return states["res_18"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    checkpoint.save(path, KM3DNet(SPEC), SPEC)
    return path


@pytest.mark.parametrize(("architecture", "width"), [("dla_34", 256), ("res_18", 64)])
def test_published_weights_give_the_published_outputs(tmp_path, states, architecture, width):
    path = save_published(tmp_path / "published.pth", states[architecture])
    converted, spec = checkpoint.convert_published(path)
    assert (spec.architecture, spec.head_width) == (architecture, width)
    assert not converted.training
    checkpoint.save(tmp_path / "ours.safetensors", converted, spec)
    model, loaded_spec = checkpoint.load(tmp_path / "ours.safetensors")
    assert loaded_spec == spec
    # Random weights as deep as these blow rounding up; in float64 there is none to speak of.
    with torch.inference_mode():
        outputs = model.double()(pixels().double())
    published = PUBLISHED[architecture]
    assert outputs.keys() == published["outputs"].keys()
    y, x = published["cell"]
    for name, values in published["outputs"].items():
        expected = torch.tensor(values, dtype=torch.float64)
        torch.testing.assert_close(outputs[name][0, :, y, x], expected, rtol=0, atol=2e-5)


def test_published_weights_without_auxiliary_heads_convert(tmp_path, state):
    auxiliary = ("wh.", "reg.", "hm_hp.", "hp_offset.")
    needed = {key: value for key, value in state.items() if not key.startswith(auxiliary)}
    _, spec = checkpoint.convert_published(save_published(tmp_path / "res_18.pth", needed))
    assert spec.heads == ("hm", "hps", "dim", "rot", "prob")


def test_every_misfit_of_a_published_checkpoint_is_named(tmp_path, state):
    wrong = dict(state)
    del wrong["layer3.0.conv1.weight"], wrong["deconv_layers.4.running_mean"]
    wrong["depth.0.bias"] = torch.zeros(1)
    wrong["hm.2.weight"] = torch.zeros(10, 64, 1, 1)
    with pytest.raises(InputError) as raised:
        checkpoint.convert_published(save_published(tmp_path / "wrong.pth", wrong))
    assert str(raised.value) == (
        f"{tmp_path}/wrong.pth: does not fit res_18: "
        "missing: deconv_layers.4.running_mean, layer3.0.conv1.weight; "
        "not known: depth.0.bias; "
        "wrong shape: hm.2.weight (10, 64, 1, 1) instead of (3, 64, 1, 1)"
    )


def test_many_misfits_are_counted(tmp_path):
    published = save_published(tmp_path / "foreign.pth", {"a.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"missing: (\S+, ){3}and \d+ more; not known: a.weight"):
        checkpoint.convert_published(published)


def test_misfits_of_a_dla_34_checkpoint_bear_their_published_names(tmp_path, states):
    wrong = dict(states["dla_34"])
    del wrong["base.level3.tree2.root.bn.bias"], wrong["ida_up.node_2.actf.0.running_var"]
    wrong["dla_up.ida_1.proj_2.conv.conv_offset_mask.weight"] = torch.zeros(18, 256, 3, 3)
    wrong["base.level2.tree3.conv1.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as raised:
        checkpoint.convert_published(save_published(tmp_path / "wrong.pth", wrong))
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
        checkpoint.convert_published(path)


def test_a_file_without_state_dict_is_refused(tmp_path):
    for content in ({"epoch": 3}, {"state_dict": {"lr": 0.1}}, [torch.zeros(1)], {}):
        torch.save(content, tmp_path / "none.pth")
        with pytest.raises(InputError, match=r"none\.pth: (not a published|does not fit any of)"):
            checkpoint.convert_published(tmp_path / "none.pth")


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
    model, spec = checkpoint.convert_published(path)
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
        checkpoint.convert_published(tmp_path / "a.pth")


def test_foreign_weights_are_told_what_can_be_converted(tmp_path):
    resnet = {f"encoder.{key}": torch.zeros(1) for key in ("conv1.weight", "layer1.0.bn1.bias")}
    torch.save(resnet, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"resnet\.pth: does not fit any of dla_34, res_18 \("):
        checkpoint.convert_published(tmp_path / "resnet.pth")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_weights_follows_the_umask(tmp_path, saved, mask, mode):
    former = os.umask(mask)
    try:
        checkpoint.rewrite(saved, tmp_path / "a.safetensors", SPEC)
    finally:
        os.umask(former)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


def test_a_saved_model_loads_with_its_spec_and_outputs(tmp_path):
    torch.manual_seed(0)
    model = KM3DNet(SPEC).eval()
    checkpoint.save(tmp_path / "a.safetensors", model, SPEC)
    loaded, spec = checkpoint.load(tmp_path / "a.safetensors")
    assert spec == SPEC
    assert checkpoint.read_spec(tmp_path / "a.safetensors") == SPEC
    assert not loaded.training
    with torch.inference_mode():
        expected, outputs = model(pixels()), loaded(pixels())
    for name in SPEC.heads:
        assert torch.equal(outputs[name], expected[name])


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, saved):
    model, _ = checkpoint.load(saved)
    taken = tmp_path / "folder"
    taken.mkdir()
    for path in (taken, tmp_path / "none" / "a.safetensors"):
        with pytest.raises(InputError, match=f"{path}: cannot be written"):
            checkpoint.save(path, model, SPEC)
    assert not list(tmp_path.rglob("*.part"))


def test_half_precision_weights_load_as_float32(tmp_path, saved):
    model, _ = checkpoint.load(saved)
    checkpoint.save(tmp_path / "half.safetensors", model, SPEC, torch.float16)
    loaded, _ = checkpoint.load(tmp_path / "half.safetensors")
    assert all(
        value.dtype == torch.float16 for value in load_file(tmp_path / "half.safetensors").values()
    )
    for value, original in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(value, original.half().float())


def test_damaged_and_foreign_files_are_named(tmp_path, saved):
    missing = tmp_path / "missing.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:100_000])
    text = tmp_path / "text.safetensors"
    text.write_text("not tensors at all")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    causes = {
        missing: "no such file",
        cut: "not a safetensors file, or cut short",
        text: "not a safetensors file, or cut short",
        foreign: "not a km3d checkpoint",
    }
    for path, cause in causes.items():
        with pytest.raises(InputError) as raised:
            checkpoint.load(path)
        assert str(raised.value).startswith(f"{path}: {cause}")
        assert "\n" not in str(raised.value)


def test_weights_of_another_architecture_are_named(tmp_path, saved):
    unknown = asdict(replace(SPEC, architecture="dla_60"))
    path = tmp_path / "other.safetensors"
    save_file(load_file(saved), path, {"km3d": json.dumps(unknown)})
    with pytest.raises(
        InputError, match=r"architecture is 'dla_60', expected one of dla_34, lite, res_18"
    ):
        checkpoint.load(path)
    save_file(load_file(saved), path, {"km3d": json.dumps(unknown | {"architecture": "res_18"})})
    with pytest.raises(InputError, match=r"does not fit res_18: missing: backbone\.bn1\.bias"):
        checkpoint.load(path)


def test_damaged_metadata_is_named(tmp_path, saved):
    path = tmp_path / "metadata.safetensors"
    for text in ("{", "[]", '{"architecture": "lite"}', '{"colour": 1}'):
        save_file(load_file(saved), path, {"km3d": text})
        with pytest.raises(InputError, match=r"metadata\.safetensors: damaged km3d metadata"):
            checkpoint.read_spec(path)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"heads": [*SPEC.heads, "depth"]}, r"head 'depth' is not one of hm, hps, .*depth_error$"),
        ({"heads": SPEC.heads[1:]}, r"there is no head 'hm', which detections are made of$"),
        ({"input_size": [64, 100]}, r"input_size is \(64, 100\), expected .* multiples of 32, of"),
        ({"input_size": [64, 0]}, r"input_size is \(64, 0\), expected"),
        ({"input_size": [64.0, 96]}, r"input_size is \(64\.0, 96\), expected"),
        ({"input_size": [64, 96, 3]}, r"input_size is \(64, 96, 3\), expected"),
        ({"noise": {"keypoint": 2.0}}, r"damaged km3d metadata \(expected sideways, upright,"),
    ],
)
def test_impossible_specifications_are_named(tmp_path, changes, cause):
    path = tmp_path / "impossible.safetensors"
    save_file({"weight": torch.zeros(1)}, path, {"km3d": json.dumps(asdict(SPEC) | changes)})
    with pytest.raises(InputError, match=rf"impossible\.safetensors: {cause}"):
        checkpoint.read_spec(path)
