"""Launch files, run as a user runs them."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import km3d_ros

LAUNCH = Path(km3d_ros.__file__).parents[1] / "launch"
PATIENCE = 60.0


@contextmanager
def launched(file: str | Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """`ros2 launch` of a file in launch/ or anywhere else, in the end stopped as Ctrl-C does.

    It must not leave a process behind.
    """
    command = [shutil.which("ros2"), "launch", LAUNCH / file, *arguments]
    mark = f"KM3D_TEST_LAUNCH={uuid4()}"
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | dict([mark.split("=")]),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        print(output.decode())
        left = processes(mark)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert not left


def processes(mark: str) -> list[int]:
    """Those with this setting in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # another user's, or ended
            continue
    return found
