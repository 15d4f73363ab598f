"""Graphs are exported once for each set of weights, and again when the file is no good."""

import logging
import pwd
import shutil

import pytest

from km3d_ros.inference import graph_cache
from km3d_ros.inference.graph_cache import cached


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "km3d_ros"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"weights")
    return path


class Export:
    """Gives a graph, and counts how often it was asked for one."""

    def __init__(self, graph=b"graph"):
        self.graph = graph
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.graph


def test_second_start_reads_what_the_first_one_exported(file, folder):
    export = Export()
    assert [cached(file, export), cached(file, export)] == [b"graph", b"graph"]
    assert export.calls == 1
    (path,) = folder.iterdir()
    assert path.name.startswith("some-")


def test_same_weights_elsewhere_are_known(file, tmp_path):
    cached(file, Export())
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(file, tmp_path / "elsewhere" / "some.safetensors")
    export = Export()
    assert cached(type(file)(copy), export) == b"graph"
    assert export.calls == 0


def test_other_weights_of_that_name_are_exported(file):
    cached(file, Export())
    file.write_bytes(b"better weights")
    assert cached(file, Export(b"better graph")) == b"better graph"


def test_graph_of_other_code_is_not_taken(file, monkeypatch):
    cached(file, Export())
    monkeypatch.setattr(graph_cache, "_code", lambda: b"changed")
    assert cached(file, Export(b"new graph")) == b"new graph"


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", bytes.swapcase])
def test_damaged_graph_is_told_and_made_anew(file, folder, damage, caplog):
    cached(file, Export())
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    export = Export()
    assert cached(file, export) == b"graph"
    assert export.calls == 1
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"{path} is damaged: exporting again"
    ]
    assert cached(file, export) == b"graph"
    assert export.calls == 1


def test_where_nothing_can_be_kept_the_graph_is_exported_each_time(file, folder, caplog):
    folder.parent.write_bytes(b"a file, not a folder")
    export = Export()
    assert cached(file, export) == cached(file, export) == b"graph"
    assert export.calls == 2
    assert "cannot be kept (Not a directory): the next start exports again" in caplog.text
    assert str(folder) in caplog.text


def test_nothing_unfinished_stays_where_the_disk_is_full(file, folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graph_cache.os, "replace", full)
    assert cached(file, Export()) == b"graph"
    assert list(folder.iterdir()) == []
    assert "No space left on device" in caplog.text


def test_without_a_home_folder_the_graph_is_exported_each_time(file, monkeypatch, caplog):
    """As in a container that runs as a user whom /etc/passwd does not know."""

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    export = Export()
    with caplog.at_level(logging.INFO):
        assert cached(file, export) == cached(file, export) == b"graph"
    assert export.calls == 2
    assert "exporting some.safetensors: there is no home folder to keep it in" in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)
