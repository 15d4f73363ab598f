"""`python -m km3d_ros.cli`."""

import sys

from km3d_ros.cli import main

sys.exit(main())
