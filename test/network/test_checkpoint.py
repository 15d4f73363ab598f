import json
import os
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec, Noise

SPEC = ModelSpec(
    "lite",
    input_size=(64, 96),
    channel_order="rgb",
    dimension_mean=((1.5, 1.6, 3.9), (1.7, 0.6, 0.8), (1.7, 0.6, 1.8)),
    dimension_spread=((0.1, 0.1, 0.1),) * 3,
    noise=Noise(sideways=0.1),
    training={"seed": 7},
)


def pixels() -> torch.Tensor:
    values = np.random.RandomState(0).uniform(-2, 2, (1, 3, 64, 96))
    return torch.tensor(values, dtype=torch.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    checkpoint.save(path, KM3DNet(SPEC), SPEC)
    return path


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
        with pytest.raises(InputError, match=f"{re.escape(str(path))}: cannot be"):
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
