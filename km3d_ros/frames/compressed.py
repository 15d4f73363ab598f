"""Compressed images, PNG and JPEG: the size is checked before the image is decoded.

OpenCV alone takes gigabytes or minutes for an image of a hundred bytes that claims to be large.
"""

from __future__ import annotations

import struct
from array import array
from mmap import mmap

import cv2
import numpy as np

from km3d_ros.errors import InputError

MAX_PIXELS = 2**25
"""Pixels of a picture that is decoded; one of 8K fits."""

_MAX_SCANS = 100
"""Passes over a progressive JPEG, each of which takes time; usual are ten."""
_MAX_SEGMENTS = 1000
"""Segments of a JPEG before the one with its size; a colour profile alone may take 255."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 100_000
"""Chunks of a PNG; usual are 8 kB each."""
_PNG_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_JPEG = b"\xff\xd8"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that tell the size."""
_JPEG_TABLES = {0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""Markers of the segments that may come before."""


def decode_image(data: bytes | bytearray | memoryview | array) -> np.ndarray:
    """A PNG or JPEG as (height, width, 3) uint8 BGR, rows and columns as they are stored.

    Raises:
        InputError: neither, not whole, or with more pixels or scans than any camera makes.
    """
    data = bytes(data)
    width, height, start = read_header(data)
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.1f} million"
        raise InputError(f"a picture of {width}x{height} pixels, expected at most {limit}")
    whole = _has_whole_chunks(data) if data[:8] == _PNG else _has_whole_scans(data, start)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if whole else None
    except cv2.error:
        image = None
    if image is None:
        raise _unreadable(data)
    return image


def read_header(data: bytes | mmap) -> tuple[int, int, int]:
    """Width, height, and the position of the header that tells them."""
    if data[:8] == _PNG and data[12:16] == b"IHDR" and len(data) > 24:
        return *struct.unpack_from(">II", data, 16), len(_PNG)
    position = len(_JPEG) if data[:2] == _JPEG else len(data)
    for _ in range(_MAX_SEGMENTS):
        if position + 9 > len(data) or data[position] != 0xFF:
            break
        marker, length, _, height, width = struct.unpack_from(">BHBHH", data, position + 1)
        if marker in _JPEG_FRAMES:
            return width, height, position
        if marker == 0xFF:
            position += 1
        elif marker in _JPEG_TABLES:
            position += 2 + length
        else:
            break
    raise _unreadable(data)


def _has_whole_chunks(data: bytes) -> bool:
    """Whether a PNG ends where its chunks say; OpenCV would take their word and the memory.

    Animated ones are refused, whose broken frames OpenCV does not survive.
    """
    position = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind in _PNG_ANIMATION:
            return False
        if kind == b"IEND":
            return position <= len(data)
    return False


def _has_whole_scans(data: bytes, start: int) -> bool:
    """Whether a JPEG ends, and soon; OpenCV fills up what was cut off."""
    return data.find(_JPEG_END, start) > 0 and data.count(_JPEG_SCAN, start) <= _MAX_SCANS


def _unreadable(data: bytes | mmap) -> InputError:
    return InputError(f"not a readable PNG or JPEG image ({len(data)} bytes)")
