"""The node in a process of its own, which starts at once because PyTorch is there already."""

import os
import sys
from pathlib import Path

from support.mortal import context

PATIENCE = 60


class NodeProcess:
    """Runs the node; what it writes goes into a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        """Start it with these ROS arguments."""
        self._log = log
        self._process = context().Process(target=_run, args=(log, arguments))
        self._process.start()

    def send(self, signal: int) -> None:
        os.kill(self._process.pid, signal)

    def end(self) -> tuple[int, str]:
        """Wait for its end; returns the exit code and what it wrote."""
        self._process.join(PATIENCE)
        return self._process.exitcode, self._log.read_text()

    def close(self) -> None:
        """Let it take leave of its peers: they miss a killed one for many seconds."""
        self._process.terminate()
        self._process.join(PATIENCE)
        self._process.kill()


def _run(log: Path, arguments: tuple[str, ...]) -> None:
    from km3d_ros.node.__main__ import main

    with open(log, "w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    sys.argv = ["km3d_node", "--ros-args", *arguments]
    sys.exit(main())
