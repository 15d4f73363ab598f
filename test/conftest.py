"""Tests talk to each other over DDS on this machine only, each run in a domain of its own."""

import os
import sys

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
# Where the build installs to when no ROS distribution is sourced.
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
