"""Weights from anywhere: whatever they say, little memory and one line."""

import json
import os
import struct
import zipfile
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.limited import refusals

from km3d_ros.errors import InputError
from km3d_ros.network import checkpoint, published
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

SPEC = ModelSpec("lite", input_size=(64, 96))
VALUES = asdict(SPEC)
NOISE = VALUES["noise"]
PAIR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def metadata(**changes):
    return {"__metadata__": {"km3d": json.dumps(VALUES | changes)}}


def raw(header, length=None, data=b""):
    """A safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def with_tensors(**tensors):
    return raw(metadata() | tensors, data=bytes(8))


def claiming(shape, end):
    return with_tensors(a={"dtype": "F32", "shape": shape, "data_offsets": [0, end]})


STRUCTURES = {
    "sparse": (claiming([10**11], 4 * 10**11), "sparse.safetensors: "),
    "length_2_63": (raw(b"{}", 2**63), "(a header of 9223372036854775808 bytes)"),
    "length_100_mb": (raw(b"{}" + b" " * 99_000_000), "(a header of 99000002 bytes)"),
    "tera": (claiming([10**12], 4 * 10**12), "file not fully covered)"),
    "tera_in_8_bytes": (claiming([10**12], 8), "invalid shape, data type, or offset"),
    "overflow": (claiming([2**40, 2**40], 8), "overflow computing buffer size"),
    "overlapping": (with_tensors(a=PAIR, b=PAIR), "invalid offset for tensor"),
    "negative": (with_tensors(a=PAIR | {"data_offsets": [-8, 0]}), "invalid value: int"),
    "twice": (raw(b'{"__metadata__":{},"__metadata__":{}}'), "duplicate field"),
    "nan": (raw(b'{"__metadata__":{"km3d":NaN}}'), "invalid JSON"),
    "deep": (raw(b'{"__metadata__":{"km3d":' + b"[" * 900_000), "invalid JSON"),
    "deep_metadata": (raw({"__metadata__": {"km3d": "[" * 900_000}}), "damaged km3d metadata ("),
    "huge_number": (raw({"__metadata__": {"km3d": "9" * 900_000}}), "damaged km3d metadata ("),
    "long_name": (
        raw({"x" * 900_000: PAIR | {"dtype": "F99"}}),
        "not a safetensors file, or cut short (Error while deserializing header: invalid JSON",
    ),
    "line_in_name": (
        with_tensors(**{"first\nsecond\x1b[2J" + "x" * 900_000: PAIR}),
        r"not known: first\nsecond\x1b[2Jxxx",
    ),
    "empty": (b"", "header too small)"),
}

VALUES_OF_NO_MODEL = [
    {"architecture": ["lite"]},
    {"architecture": {"a": 1}},
    {"architecture": "x" * 500_000},
    {"classes": []},
    {"classes": [str(i) for i in range(50_000)]},
    {"classes": ["Car"] * 100_000},
    {"classes": [1, 2, 3]},
    {"classes": ["Big car", "b", "c"]},
    {"classes": ["a\nb", "b", "c"]},
    {"classes": "Car"},
    {"classes": 5},
    {"heads": 5},
    {"heads": ["hm"] * 100_000},
    {"heads": [["hm"], None]},
    {"head_width": 10**9},
    {"head_width": 10**30},
    {"head_width": -1},
    {"head_width": "64"},
    {"input_size": [32 * 10**9, 32]},
    {"input_size": [True, 32]},
    {"input_size": [8192, 8192]},
    {"channel_order": "rbg"},
    {"mean": [0, 0]},
    {"mean": [0, 0, 10**400]},
    {"mean": [0, 0, float("nan")]},
    {"mean": ["0", "0", "0"]},
    {"std": [1, 1, 0]},
    {"std": [1, 1, float("inf")]},
    {"dimension_mean": [[1, 1, 1]] * 3},
    {"dimension_mean": [[1, 1, 1]] * 2, "dimension_spread": [[1, 1, 1]] * 2},
    {"dimension_mean": [[1, 1, 0]] * 3, "dimension_spread": [[1, 1, 1]] * 3},
    {"noise": NOISE | {"yaw": 0}},
    {"noise": NOISE | {"size": "0.1"}},
    {"noise": NOISE | {"power": 1e9}},
    {"training": [1]},
]


def test_hostile_files_take_little_memory_and_end_in_one_line(tmp_path):
    files = {name: content for name, (content, _) in STRUCTURES.items()}
    files |= {f"{i}": raw(metadata(**v)) for i, v in enumerate(VALUES_OF_NO_MODEL)}
    paths = [tmp_path / f"{name}.safetensors" for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    # A terabyte that the disk does not have. Whether it can be mapped is up to the system.
    os.truncate(paths[0], len(STRUCTURES["sparse"][0]) - 8 + 4 * 10**11)
    said, megabytes = refusals(checkpoint.load, paths)
    for path, message in zip(paths, said, strict=True):
        assert message.startswith(f"{path}: ")
        assert message.isprintable()
        assert len(message) < len(str(path)) + 500
    for message, (_, cause) in zip(said, STRUCTURES.values(), strict=False):
        assert cause in message
    for message, changes in zip(said[len(STRUCTURES) :], VALUES_OF_NO_MODEL, strict=True):
        assert f": {next(iter(changes))} is " in message
    assert megabytes < 100


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda weights: weights * float("nan"), "heads.hm.2.bias has values that are not finite"),
        (lambda weights: weights / 0, "heads.hm.2.bias has values that are not finite"),
        (torch.Tensor.int, "does not fit lite: no numbers: heads.hm.2.bias"),
        (torch.Tensor.bool, "does not fit lite: no numbers: heads.hm.2.bias"),
        (partial(torch.Tensor.to, dtype=torch.complex64), "no numbers: heads.hm.2.bias"),
    ],
)
def test_weights_that_compute_nothing_are_refused(tmp_path, change, cause):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, KM3DNet(SPEC), SPEC)
    tensors = load_file(path)
    tensors["heads.hm.2.bias"] = change(tensors["heads.hm.2.bias"])
    save_file(tensors, path, metadata()["__metadata__"])
    with pytest.raises(InputError, match=rf"a\.safetensors: .*{cause}$"):
        checkpoint.load(path)


class Wide:
    """Becomes a NumPy value of as many bytes when it is read by NumPy."""

    def __reduce__(self):
        return np.float64(0).__reduce__()[0], (np.dtype("V1000000000"),)


class Bytes:
    """Becomes as many bytes when it is read; no code that `weights_only` would refuse."""

    def __reduce__(self):
        return bytearray, (10**9,)


def write_published(path, name, values):
    """A published file; `name` says how it is made hostile."""
    path = path / f"{name}.pth"
    torch.save({"state_dict": values}, path, _use_new_zipfile_serialization=name != "old")
    return path


def test_hostile_published_files_take_little_memory(tmp_path):
    values = {
        "bytes": Bytes(),
        "wide": Wide(),
        "expanded": {"a": torch.zeros(1).expand(10**12)},
        "meta": {"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")},
        "sparse": {"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()},
        "numbers": {1: torch.zeros(1)},
    }
    paths = [write_published(tmp_path, name, content) for name, content in values.items()]
    compressed = tmp_path / "compressed.pth"
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(150_000_000))
    old = write_published(tmp_path, "old", {"a": torch.zeros(1000)})
    # The number of elements that its storage is said to have.
    old.write_bytes(old.read_bytes().replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "empty.pth").touch()
    others = [tmp_path / f"{name}.pth" for name in ("folder", "empty")]
    paths = [*paths, compressed, old, *others]
    said, megabytes = refusals(published.convert, paths)
    no_file = ": damaged, or not a PyTorch file of plain tensors"
    causes = {
        "bytes": no_file,
        "wide": no_file,
        "expanded": ": does not fit ",
        "meta": "; no numbers: conv1.weight",
        "sparse": "; no numbers: conv1.weight",
        "numbers": ": not a published checkpoint (no 'state_dict' of tensors)",
        "compressed": no_file,
        "old": no_file,
        "folder": ": no such file",
        "empty": no_file,
    }
    for path, message in zip(paths, said, strict=True):
        assert message.startswith(f"{path}: ")
        assert causes[path.stem] in message
        assert message.isprintable()
    assert megabytes < 100
