"""The files that describe, install and start the package."""

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from importlib.metadata import requires
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from catkin_pkg.changelog import get_changelog_from_path

import km3d_ros

ROOT = Path(km3d_ros.__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAME = re.compile(r"[A-Za-z][\w.-]*")
PROFILE_VARIABLES = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}


def manifest(tag: str) -> list[str]:
    return [element.text for element in ElementTree.parse(ROOT / "package.xml").iter(tag)]


def pip_lines(page: Path) -> list[list[str]]:
    """What each `pip install` of a page installs."""
    lines = re.findall(r"pip install ([^`#\n]+)", page.read_text())
    named = [[word.strip("'\"") for word in line.split()] for line in lines]
    return [[word for word in words if NAME.match(word)] for words in named]


def pins() -> dict[str, set[str]]:
    """The pinned versions of each package in requirements.txt, whatever the Python."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)(?:\[\w+\])?==([\d.]+)(?:;|$)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_manifest_and_changelog_carry_the_version_of_the_module():
    changelog = get_changelog_from_path(ROOT)
    assert next(version for version, *_ in changelog.foreach_version()) == km3d_ros.__version__
    assert manifest("version") == [km3d_ros.__version__]


def test_manifest_declares_every_ros_package_that_the_modules_import():
    declared = {*manifest("depend"), *manifest("exec_depend")}
    modules = "\n".join(path.read_text() for path in (ROOT / "km3d_ros").rglob("*.py"))
    ros = r"^from (\w+\.(?:msg|srv)|ament_index_python|rclpy)\b"
    imported = {name.partition(".")[0] for name in re.findall(ros, modules, re.MULTILINE)}
    launch_files = "\n".join(path.read_text() for path in (ROOT / "launch").glob("*.py"))
    imported |= set(re.findall(r'package="(\w+)"', launch_files))
    displays = re.findall(r"Class: (\w+_plugins)/", (ROOT / "rviz" / "km3d.rviz").read_text())
    imported |= set(displays) - {"rviz_default_plugins"}  # a dependency of rviz2
    assert imported >= {"vision_msgs", "sensor_msgs", "rviz2", "vision_msgs_rviz_plugins"}
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
    assert len(pins()) > 20
    assert sum(map(len, pins().values())) == len(requirements)


def test_everything_that_the_pages_install_with_pip_is_pinned():
    named = {NAME.match(word)[0] for page in PAGES for line in pip_lines(page) for word in line}
    assert named >= {"torch", "safetensors", "openvino", "onnx", "rosbags"}
    assert named <= pins().keys()


def test_pip_lines_that_could_bring_numpy_2_keep_it_out():
    lines = [line for page in PAGES for line in pip_lines(page)]
    bringing = [
        line
        for line in lines
        for word in line
        if any(NAME.match(r)[0] == "numpy" for r in requires(NAME.match(word)[0]) or ())
    ]
    assert len(bringing) >= 3
    assert [line for line in bringing if "numpy<2" not in line] == []


@pytest.mark.parametrize("page", ["README.md", "docs/vehicle.md", "config/fastdds_shm.xml"])
def test_pages_name_the_profile_variables_of_fast_dds_2_and_3_together(page):
    exports = re.findall(r"export (.*PROFILES_FILE.*)", (ROOT / page).read_text())
    assert exports
    for export in exports:
        assert set(re.findall(r"(\w+)=", export)) == PROFILE_VARIABLES
