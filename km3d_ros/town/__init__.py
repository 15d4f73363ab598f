"""Town: procedural street scenes with labels in KITTI format."""

from km3d_ros.town.drive import drive
from km3d_ros.town.render import TownFrame, render
from km3d_ros.town.sampling import sample_scene

__all__ = ["TownFrame", "drive", "render", "sample_scene"]
