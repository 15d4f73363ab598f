import os

import pytest
from support.limited import refusals

from km3d_ros.data.calibration import read_projection
from km3d_ros.data.files import read_text, read_yaml
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import read_labels
from km3d_ros.errors import InputError

LABEL = b"Car 0 0 0 0 0 9 9 1.5 1.6 3.9 0 1 20 0\n"
LARGE = "bytes, expected a file of at most"


def write(folder, contents):
    """Files of these contents by name."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_hostile_labels_are_refused_at_little_cost(tmp_path):
    million = 1_000_000 * LABEL
    files = {
        "long.txt": b"Car 0 0 " * 1_250_000,
        "million.txt": million,
        "binary.txt": bytes(range(256)) * 40,
        "word.txt": b"x" * 1_000_000,
        "number.txt": b"Car " + b"9" * 100_000 + b"x" + b" 0" * 13,
        "infinite.txt": LABEL.replace(b"20", b"1e400"),
        "columns.txt": b"Car" + b" 0" * 500_000,
    }
    paths = write(tmp_path, files)
    said, megabytes = refusals(read_labels, paths)
    causes = (
        f": 10000000 {LARGE} 1048576",
        f": {len(million)} {LARGE} 1048576",
        ": not a text file",
        ":1: 1 columns, expected 15 (label) or 16 (result)",
        ":1: '999999999999...999999999999x' is not a number",
        ":1: '1e400' is not a finite number",
        ":1: 500001 columns, expected 15 (label) or 16 (result)",
    )
    assert said == [f"{path}{cause}" for path, cause in zip(paths, causes, strict=True)]
    assert megabytes < 100


def test_hostile_calibrations_are_refused_at_little_cost(tmp_path):
    files = {
        "large.txt": b"P0: 1 2 3\n" * 1_000_000,
        "binary.txt": os.urandom(1000) + b"\xff",
        "none.txt": b"",
        "many.txt": b"P2:" + b" 1" * 500_000,
        "infinite.txt": b"P2: 1e400 0 0 0 0 1 0 0 0 0 1 0",
        "word.txt": b"P2: " + b"x" * 1_000_000 + b" 0" * 11,
    }
    paths = write(tmp_path, files)
    said, megabytes = refusals(read_projection, paths)
    form = "fx 0 cx tx 0 fy cy ty 0 0 1 tz"
    causes = (
        f": 10000000 {LARGE} 1048576",
        ": not a text file",
        f': no P2 in this calibration file; expected a line "P2: {form}"',
        f":1: P2 has 500000 numbers, not 12; expected {form}",
        ":1: '1e400' is not a finite number",
        ":1: 'xxxxxxxxxxxx...xxxxxxxxxxxxx' is not a number",
    )
    assert said == [f"{path}{cause}" for path, cause in zip(paths, causes, strict=True)]
    assert megabytes < 50


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    causes = {
        "folder.txt": "not a file",
        "pipe.txt": "not a file",
        "device.txt": "not a file",
        "loop.txt": "Too many levels of symbolic links",
        "none.txt": "No such file or directory",
    }
    for name, cause in causes.items():
        with pytest.raises(InputError, match=rf"/{name}: {cause}$"):
            read_text(tmp_path / name)


def test_text_up_to_the_limit_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("äöü")
    assert read_text(path, 6) == "äöü"
    with pytest.raises(InputError, match=rf"a\.txt: 6 {LARGE} 5$"):
        read_text(path, 5)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (text,) = write(tmp_path, {"a.txt": b"\xef\xbb\xbfCar 1"})
    assert read_text(text) == "Car 1"
    (yaml,) = write(tmp_path, {"a.yaml": b"\xef\xbb\xbfsteps: 3"})
    assert read_yaml(yaml) == {"steps": 3}


def test_hostile_yaml_is_refused_at_little_cost(tmp_path):
    aliases = "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30))
    files = {
        "large.yaml": b"a: 1\n" * 100_000,
        "deep.yaml": b"[" * 60_000,
        "code.yaml": b"!!python/object/apply:os.system ['true']",
        "word.yaml": b"*" + b"x" * 60_000,
        "date.yaml": b"2001-99-99",
        "number.yaml": b"!!int x",
        "key.yaml": b"? [a]\n: b",
    }
    paths = write(tmp_path, files)
    said, megabytes = refusals(read_yaml, paths)
    assert said[0] == f"{paths[0]}: 500000 {LARGE} 65536"
    for path, message in zip(paths[1:], said[1:], strict=True):
        assert message.startswith(f"{path}: not a YAML file (")
        assert len(message) < 300 + len(str(path))
        assert "\n" not in message
    assert megabytes < 150
    path = tmp_path / "aliases.yaml"
    path.write_text(f"a0: &a0 [1]\n{aliases}")
    # What it stands for has 9**30 entries; what is read are references.
    assert len(read_yaml(path)) == 31


def test_yaml_becomes_plain_values(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("steps: 3\nflip: false\n")
    assert read_yaml(path) == {"steps": 3, "flip": False}
    path.write_text("")
    assert read_yaml(path) is None


def test_split_may_name_many_frames_but_not_endless_ones(tmp_path):
    for part in ("image_2", "label_2", "calib", "ImageSets"):
        (tmp_path / part).mkdir()
    (tmp_path / "image_2" / "0.png").touch()
    split = tmp_path / "ImageSets" / "train.txt"
    split.write_bytes(b"x" * 2_000_000)
    with pytest.raises(InputError, match=r"image_2: no image of frame 'x{12}\.\.\.x{13}'$"):
        KittiDataset(tmp_path, "train")
    with split.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match=rf"train\.txt: {2**30} {LARGE}"):
        KittiDataset(tmp_path, "train")
