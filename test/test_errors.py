"""Git LFS pointers, wherever a file is read, and the advice for missing packages."""

import pytest

from km3d_ros import errors
from km3d_ros.cli import main
from km3d_ros.data.bag_images import open_bag
from km3d_ros.data.files import read_text, read_yaml
from km3d_ros.data.footage import open_footage
from km3d_ros.data.image_file import read_image, read_image_size
from km3d_ros.errors import InputError, check_downloaded, pip_install
from km3d_ros.inference.detector import Detector
from km3d_ros.inference.formats import read_records
from km3d_ros.network import checkpoint, published

POINTER = """version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""
READERS = {
    "a.png": read_image,
    "b.jpg": read_image_size,
    "c.txt": read_text,
    "d.yaml": read_yaml,
    "e.safetensors": checkpoint.load,
    "f.pth": published.convert,
    "g.mcap": open_bag,
    "h.bag": open_bag,
    "i.mp4": open_footage,
    "j.jsonl": read_records,
    "k.onnx": Detector.from_checkpoint,
}


@pytest.mark.parametrize("name", READERS)
def test_pointer_of_git_lfs_is_named_by_every_reader(tmp_path, name):
    path = tmp_path / name
    path.write_text(POINTER)
    with pytest.raises(InputError, match=rf"{name}: a Git LFS pointer.*run `git lfs pull`"):
        READERS[name](path)


@pytest.mark.parametrize("verb", ["bag", "extract"])
@pytest.mark.parametrize("name", ["drive_0.mcap", "drive_0.db3"])
def test_pointer_in_the_folder_of_a_recording_is_named(tmp_path, capsys, name, verb):
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / name).write_text(POINTER)
    out = {"bag": [str(tmp_path / "out")], "extract": ["--out", str(tmp_path / "out")]}
    assert main([verb, str(tmp_path / "drive"), *out[verb]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"km3d {verb}: {tmp_path}/drive/{name}: a Git LFS pointer")


def test_any_other_file_is_no_pointer(tmp_path):
    for content in (b"", b"version 1", b"\x89PNG"):
        (tmp_path / "file").write_bytes(content)
        check_downloaded(tmp_path / "file")


@pytest.mark.parametrize(
    ("numpy", "expected"),
    [("1.21.5", 'pip install mcap lz4 "numpy<2"'), ("2.4.6", "pip install mcap lz4")],
)
def test_advice_keeps_numpy_1_where_it_is_installed(monkeypatch, numpy, expected):
    monkeypatch.setattr(errors, "version", {"numpy": numpy}.__getitem__)
    assert pip_install("mcap", "lz4") == expected
