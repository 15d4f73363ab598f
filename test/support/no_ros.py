"""pytest -p support.no_ros: skips the tests that need ROS, where there is none.

Message types alone need none: those of the packages in MESSAGES are made from the definitions of
rosbags.
"""

import sys
from functools import partial
from importlib.abc import MetaPathFinder
from types import ModuleType

import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

ROS = {"ament_index_python", "km3d_ros.msg", "rcl_interfaces", "rclpy"}
MESSAGES = ("builtin_interfaces", "geometry_msgs", "sensor_msgs", "std_msgs")
TYPES = get_typestore(Stores.ROS2_HUMBLE)


class NoRos(MetaPathFinder):
    """Skips the test or module that imports a package of ROS."""

    def find_spec(self, name, path=None, target=None):
        if name in ROS or ("." not in name and name.endswith(("_msgs", "_srvs"))):
            pytest.skip(f"needs ROS ({name})", allow_module_level=True)


class Messages(ModuleType):
    """The module PACKAGE.msg."""

    def __getattr__(self, name):
        full_name = f"{self.__name__.replace('.', '/')}/{name}"
        if name.startswith("_") or full_name not in TYPES.types:
            raise AttributeError(name)
        return partial(_message, full_name)


def _message(name, **values):
    """A message; fields without a value have the default of their type."""
    message_type = TYPES.types[name]
    descriptions = dict(TYPES.fielddefs[name][1])
    missing = descriptions.keys() - values.keys()
    return message_type(**values, **{n: _default(descriptions[n]) for n in missing})


def _default(description):
    kind, details = description
    if kind == Nodetype.NAME:
        return _message(details)
    if kind == Nodetype.BASE:
        return {"string": "", "bool": False}.get(details[0], 0)
    (_, (element, _)), length = details
    if kind == Nodetype.ARRAY:
        return np.zeros(length, element)
    return []


sys.meta_path.append(NoRos())
for package in MESSAGES:
    sys.modules[package] = ModuleType(package)
    sys.modules[f"{package}.msg"] = Messages(f"{package}.msg")
