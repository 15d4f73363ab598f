import re

import pytest

from km3d_ros.errors import InputError
from km3d_ros.whole_file import write_whole


def test_content_replaces_the_former_file(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"old and long", b"new"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for path in (tmp_path / "folder", tmp_path / "none" / "a.bin"):
        with pytest.raises(InputError, match=f"{re.escape(str(path))}: cannot be written"):
            write_whole(path, b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "inside"]
