"""pytest -p support.no_ros: skips the tests that need ROS, where there is none."""

import sys
from importlib.abc import MetaPathFinder

import pytest

ROS = {"ament_index_python", "builtin_interfaces", "km3d_ros.msg", "rcl_interfaces", "rclpy"}


class NoRos(MetaPathFinder):
    """Skips the test or module that imports a package of ROS."""

    def find_spec(self, name, path=None, target=None):
        if name in ROS or ("." not in name and name.endswith(("_msgs", "_srvs"))):
            pytest.skip(f"needs ROS ({name})", allow_module_level=True)


sys.meta_path.append(NoRos())
