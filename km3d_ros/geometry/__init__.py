"""Cameras, lenses, 3D boxes and the geometric reasoning module; no ROS."""
