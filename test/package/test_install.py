"""`pip install --no-build-isolation .` in a ROS environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import km3d_ros
from km3d_ros.version import __version__

ROOT = Path(km3d_ros.__file__).parents[1]
SOURCES = ("CMakeLists.txt", "LICENSE", "README.md", "package.xml", "pyproject.toml", "setup.py")
FOLDERS = ("cmake", "config", "km3d_ros", "launch", "msg", "resource", "rviz")
PROBE = """
from ament_index_python import get_package_prefix, get_package_share_path
import km3d_ros.msg
print(get_package_prefix("km3d_ros"))
print(get_package_share_path("km3d_ros"))
print(km3d_ros.msg.__file__)
"""

pytest.importorskip("setuptools", minversion="77")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory) -> Path:
    """Where the package is installed, from a copy of the sources."""
    copy, prefix = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("prefix")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", prefix]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return prefix


def run(prefix: Path, *command: str | Path) -> str:
    """What a command prints where the installed package is sourced, without these sources."""
    script = 'source "$0/share/km3d_ros/local_setup.bash" && exec "$@"'
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    shell = ["bash", "-c", script, prefix, *command]
    return subprocess.check_output(shell, env=environment, cwd=prefix, text=True)


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.is_file()}


def test_installed_package_is_in_the_ament_index_with_its_messages(prefix):
    site = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    expected = [prefix, prefix / "share/km3d_ros", prefix / site / "km3d_ros/msg/__init__.py"]
    assert run(prefix, sys.executable, "-c", PROBE).splitlines() == [
        str(path) for path in expected
    ]
    share = prefix / "share" / "km3d_ros"
    for folder in ("config", "launch", "rviz"):
        assert files(share / folder) == files(ROOT / folder)


def test_installed_executables_start(prefix):
    programs = prefix / "lib" / "km3d_ros"
    assert run(prefix, programs / "km3d", "--version") == f"km3d {__version__}\n"
    assert "~/detections" in run(prefix, programs / "km3d_node", "--help")


def test_executables_start_where_the_message_generator_has_emptied_the_package(prefix):
    """As on Lyrical, where the generated __init__.py is installed last."""
    (init,) = prefix.glob("lib/python3*/site-packages/km3d_ros/__init__.py")
    init.write_text("")
    assert run(prefix, prefix / "lib/km3d_ros/km3d", "--version") == f"km3d {__version__}\n"
