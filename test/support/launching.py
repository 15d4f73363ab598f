"""Launch files, run as a user runs them."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import km3d_ros

LAUNCH = Path(km3d_ros.__file__).parents[1] / "launch"
PATIENCE = 60.0


@contextmanager
def launched(file: str | Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """`ros2 launch` of a file in launch/ or anywhere else, in the end stopped as Ctrl-C does."""
    command = [shutil.which("ros2"), "launch", LAUNCH / file, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        print(output.decode())
