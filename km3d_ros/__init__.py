"""Metric 3D boxes from one camera: KM3D-Net for ROS 2."""

import pkgutil

from km3d_ros.version import __version__ as __version__

# The colcon install puts the generated messages (km3d_ros.msg) in a directory of its own; with
# this line the modules of a source checkout and the installed messages form one package.
__path__ = pkgutil.extend_path(__path__, __name__)
