"""Adds the ROS parts to `pip install --no-build-isolation .`; pyproject.toml has the metadata.

Where AMENT_PREFIX_PATH is set and cmake is found, CMake builds the package as colcon does, and pip
installs the result: messages, executables, launch files. Elsewhere pip installs the plain library
and `km3d`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import setuptools
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

if int(setuptools.__version__.partition(".")[0]) < 77:
    sys.exit(
        f"km3d_ros: pyproject.toml needs setuptools 77 or newer, this is {setuptools.__version__}:"
        " pip install 'setuptools>=77,<80'"
    )

NAME = "km3d_ros"
SHARE = f"share/{NAME}"
CMAKE = shutil.which("cmake")
ROS = bool(CMAKE and os.environ.get("AMENT_PREFIX_PATH"))
# The files that need no build, as every ROS package of Python declares them.
ROS_FILES = [
    ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
    (SHARE, ["package.xml"]),
    *((f"{SHARE}/{folder}", [str(file) for file in Path(folder).iterdir() if file.is_file()])
      for folder in ("config", "launch", "rviz")),
]  # fmt: skip


class BuildWithCMake(build_py):
    """Builds the modules, and in a ROS environment the messages and executables."""

    def run(self) -> None:
        shutil.rmtree(Path(self.build_lib, NAME), ignore_errors=True)  # modules that were removed
        super().run()
        if ROS and not self.editable_mode:
            self._add_cmake_files()

    def _add_cmake_files(self) -> None:
        work = Path(self.get_finalized_command("build").build_temp).absolute()
        build, stage = work / "cmake", work / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        configure = ["-S", ".", "-B", build, "-DBUILD_TESTING=OFF"]
        configure += [
            f"-DCMAKE_INSTALL_PREFIX={sys.prefix}",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ]
        for arguments in (configure, ["--build", build, "--parallel"], ["--install", build]):
            environment = os.environ | {"DESTDIR": str(stage)}
            subprocess.run([CMAKE, *arguments], check=True, env=environment)
        prefix = Path(f"{stage}{sys.prefix}")
        modules = next(prefix.rglob(f"{NAME}/msg/__init__.py")).parents[1]
        shutil.copytree(modules, Path(self.build_lib, NAME), dirs_exist_ok=True)
        shutil.rmtree(modules.parent)
        # CMake installs the declared files, too.
        declared = {Path(folder, Path(f).name) for folder, files in ROS_FILES for f in files}
        for file in filter(Path.is_file, prefix.rglob("*")):
            place = file.relative_to(prefix)
            if place not in declared:
                self.distribution.data_files.append((str(place.parent), [str(file)]))


class RosDistribution(Distribution):
    """Marks the wheel as one for this platform when it contains the messages' libraries."""

    def has_ext_modules(self) -> bool:
        return ROS


setup(
    cmdclass={"build_py": BuildWithCMake},
    data_files=ROS_FILES if ROS else [],
    distclass=RosDistribution,
)
