#!/bin/sh
# Template of .venv/bin/km3d and .venv/bin/km3d_node. They run the installed executable of that name
# with this checkout's modules and the messages and libraries built into @VENV@.
export PYTHONPATH="@ROOT@${PYTHONPATH:+:$PYTHONPATH}"
export LD_LIBRARY_PATH="@VENV@/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export AMENT_PREFIX_PATH="@VENV@${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
exec "@VENV@/bin/python" "@VENV@/lib/km3d_ros/$(basename "$0")" "$@"
