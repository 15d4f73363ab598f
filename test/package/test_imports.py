"""Which part may import which."""

import ast
from pathlib import Path

import pytest

import km3d_ros

SOURCES = Path(km3d_ros.__file__).parent
FLOORS = {
    "geometry": 0,
    "frames": 1,
    "network": 1,
    "data": 2,
    "inference": 3,
    "town": 3,
    "drawing": 4,
    "training": 4,
    "evaluation": 4,
    "node": 5,
}
ROS_PARTS = {"node", "bag", "demo"}
ABOVE_ALL = {"cli"}
ROS_PACKAGES = {
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "launch",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "vision_msgs",
    "visualization_msgs",
}


def part_of(path: Path) -> str:
    """The folder or module right below km3d_ros."""
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The dotted names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("part", FLOORS)
def test_part_imports_only_parts_of_lower_floors(part):
    files = list((SOURCES / part).rglob("*.py"))
    assert files
    own = {name.split(".")[1] for f in files for name in imports(f) if name[:9] == "km3d_ros."}
    used = (own & {*FLOORS, *ROS_PARTS, *ABOVE_ALL}) - {part}
    assert {name for name in used if FLOORS.get(name, 9) >= FLOORS[part]} == set()


def test_only_the_ros_parts_import_ros():
    outside = [f for f in SOURCES.rglob("*.py") if part_of(f) not in ROS_PARTS | {"frames"}]
    assert len(outside) > 20
    ros = {f: {n.split(".")[0] for n in imports(f)} & ROS_PACKAGES for f in outside}
    assert {f.name: names for f, names in ros.items() if names} == {}
