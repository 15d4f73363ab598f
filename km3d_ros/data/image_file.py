"""Image files, PNG and JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

from km3d_ros.data.files import read_bytes
from km3d_ros.errors import InputError, check_downloaded, naming
from km3d_ros.frames.compressed import MAX_PIXELS, decode_image, read_header

_MAX_BYTES = 4 * MAX_PIXELS


def read_image(path: str | Path) -> np.ndarray:
    """Read a PNG or JPEG file; as `decode_image`, with the file named in errors."""
    data = read_bytes(path, _MAX_BYTES)
    with naming(path):
        return decode_image(data)


def check_one_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Width and height of image files of one camera.

    Raises:
        InputError: one of them is of another size than the first, or not readable.
    """
    width, height = read_image_size(paths[0])
    for path in paths[1:]:
        size = read_image_size(path)
        if size != (width, height):
            as_of = f"{width}x{height} as of {paths[0].name}"
            raise InputError(f"{path}: {size[0]}x{size[1]} pixels, expected {as_of}")
    return width, height


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG or JPEG file, from its header.

    Raises:
        InputError: missing, not a PNG or JPEG file, cut off, or not downloaded.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return read_header(data)[:2]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except InputError as error:
        check_downloaded(path)
        raise InputError(f"{path}: {error}") from None
    except ValueError as error:  # of mmap
        raise InputError(f"{path}: an empty file") from error
