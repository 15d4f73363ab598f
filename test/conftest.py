"""DDS traffic of the tests stays on this machine, in a domain of each process of a test run."""

import os
import signal
import sys
from importlib.machinery import PathFinder

import pytest
import torch

from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec

# A background job of a shell ignores SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # gw0, gw1, ...
    domain = int(os.environ["ROS_DOMAIN_ID"]) + int(worker.removeprefix("gw"))
    os.environ["ROS_DOMAIN_ID"] = str(domain % 102)
# Where the build installs to when no ROS distribution is sourced.
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
if PathFinder.find_spec("rclpy"):
    from km3d_ros.node.compatibility import ON_THIS_MACHINE

    for name, value in ON_THIS_MACHINE.items():
        os.environ.setdefault(name, value)


@pytest.fixture(scope="session", autouse=True)
def graph_cache(tmp_path_factory):
    """Exported graphs of these tests, and of the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder / "km3d_ros"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A checkpoint of a small network that nobody trained."""
    torch.manual_seed(0)
    sizes = {"dimension_mean": ((1.5, 1.6, 3.9),) * 3, "dimension_spread": ((0.1,) * 3,) * 3}
    spec = ModelSpec("lite", input_size=(64, 160), **sizes)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    checkpoint.save(path, KM3DNet(spec), spec)
    return path
