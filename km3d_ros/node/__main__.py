"""The executable: `python -m km3d_ros.node`."""

import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the node until a signal ends it; returns the exit code."""
    # PyTorch takes seconds to import, and nothing is open yet that would have to be closed.
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    from km3d_ros.node import detector_node

    # From now on rclpy handles both alike; KeyboardInterrupt could break off anything, anywhere.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    return detector_node.main()


if __name__ == "__main__":
    sys.exit(main())
