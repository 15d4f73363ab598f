#!/bin/sh
# .venv/bin/km3d and .venv/bin/km3d_node are links to this file. It runs the installed executable
# of that name with this checkout's modules and the messages and libraries built into .venv.
root=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export LD_LIBRARY_PATH="$root/.venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export AMENT_PREFIX_PATH="$root/.venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
exec "$root/.venv/bin/python" "$root/.venv/lib/km3d_ros/$(basename "$0")" "$@"
