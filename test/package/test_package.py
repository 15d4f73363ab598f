"""The files that describe, install and start the package."""

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ament_index_python.packages import get_package_prefix

import km3d_ros

ROOT = Path(km3d_ros.__file__).parents[1]


def manifest(tag: str) -> list[str]:
    return [element.text for element in ElementTree.parse(ROOT / "package.xml").iter(tag)]


def test_manifest_and_changelog_carry_the_version_of_the_module():
    assert manifest("version") == [km3d_ros.__version__]
    changelog = (ROOT / "CHANGELOG.rst").read_text()
    assert re.findall(r"^(\d+\.\d+\.\d+) \(", changelog, re.MULTILINE)[0] == km3d_ros.__version__


def test_manifest_declares_every_ros_package_that_the_modules_import():
    declared = {*manifest("depend"), *manifest("exec_depend")}
    modules = "\n".join(path.read_text() for path in (ROOT / "km3d_ros").rglob("*.py"))
    imported = set(re.findall(r"^from (\w+)\.(?:msg|srv) import", modules, re.MULTILINE))
    assert imported >= {"vision_msgs", "sensor_msgs"}
    assert imported - {"km3d_ros"} <= declared


def test_km3d_runs_from_any_folder(tmp_path):
    prefix = Path(get_package_prefix("km3d_ros"))
    # A plain colcon build has no bin/km3d: there, `ros2 run` starts the other one.
    programs = [p for p in (prefix / "lib/km3d_ros/km3d", prefix / "bin/km3d") if p.exists()]
    assert programs
    for program in programs:
        output = subprocess.check_output([program, "--version"], cwd=tmp_path, text=True)
        assert output == f"km3d {km3d_ros.__version__}\n"


def test_all_requirements_are_pinned():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert len(requirements) > 20
    assert [r for r in requirements if not re.match(r"[\w.\[\]-]+==[\d.]+(;|$)", r)] == []
