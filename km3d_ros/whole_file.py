"""Files that are complete at any moment: the old content or the new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from km3d_ros.errors import InputError


def write_whole(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file beside its place, and move it there when it is on the disk.

    The mode of the file follows the umask.

    Raises:
        InputError: it cannot be written; a former file of this name is still there.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            # The content must reach the disk before the name does.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
