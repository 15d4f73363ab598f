"""PNG and JPEG images, decoded by OpenCV after the checks that OpenCV lacks.

OpenCV 4.5 to 5.0 accepts 2**30 pixels, and its limit can only be changed before cv2 is imported.
It also decodes formats with weaker decoders, allocates what a PNG chunk claims to hold, crashes on
broken animated PNGs, fills the missing rows of a JPEG with grey (before 4.11), and spends minutes
on a small JPEG with thousands of scans.
"""

from __future__ import annotations

import struct
from array import array
from mmap import mmap

import cv2
import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.frames.bit_depth import BitDepth

Buffer = bytes | bytearray | memoryview | array

MAX_PIXELS = 2**25
"""Largest number of pixels that is decoded; an 8K image fits."""

_MAX_PARTS = 100_000
"""Chunks of a PNG (usually of 8 kB each), or segments before the size of a JPEG."""
_MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about ten, and each takes time to decode."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_JPEG = b"\xff\xd8"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that contain the size."""


def decode_image(data: Buffer) -> np.ndarray:
    """Decode a PNG or JPEG to (height, width, 3) uint8 BGR; see `decode_channels`."""
    image = decode_channels(data, BitDepth())
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def decode_channels(data: Buffer, depth: BitDepth) -> np.ndarray:
    """Decode a PNG or JPEG; its EXIF orientation and its transparency are ignored.

    Args:
        data: the file's content.
        depth: the bits that 16-bit PNGs of this stream use.

    Returns:
        uint8, (height, width, 3) BGR or (height, width) grey, as it is stored.

    Raises:
        InputError: not a whole PNG or JPEG, animated, a single pixel, or with too many pixels or
            scans.
    """
    data = bytes(data)
    width, height, start = read_header(data)
    if width * height > MAX_PIXELS:
        most = f"{MAX_PIXELS / 1e6:.1f} million"
        raise InputError(f"a picture of {width}x{height} pixels, expected at most {most}")
    if width == height == 1:  # OpenCV 4.5 cannot convert it
        raise InputError("a single pixel, expected a picture")
    whole = _is_whole_png(data) if data[:8] == _PNG else _is_whole_jpeg(data, start)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if whole else None
    except cv2.error:
        image = None
    if image is None:
        raise _unreadable(data)
    return depth.to_8_bits(image)


def read_header(data: bytes | mmap) -> tuple[int, int, int]:
    """Width and height of a PNG or JPEG, and the position of the header that contains them.

    Raises:
        InputError: neither, or cut off before its size.
    """
    if data[:8] == _PNG and data[12:16] == b"IHDR" and len(data) > 24:
        return *struct.unpack_from(">II", data, 16), len(_PNG)
    position = len(_JPEG) if data[:2] == _JPEG else len(data)
    for _ in range(_MAX_PARTS):
        if position + 9 > len(data) or data[position] != 0xFF:
            break
        marker, length, _, height, width = struct.unpack_from(">BHBHH", data, position + 1)
        if marker in _JPEG_FRAMES:
            return width, height, position
        position += 1 if marker == 0xFF else 2 + length
    raise _unreadable(data)


def _is_whole_png(data: bytes) -> bool:
    """Whether all chunks up to the last one are complete, and none is of an animation."""
    position = len(_PNG)
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind in _PNG_ANIMATION:
            return False
        if kind == b"IEND":
            return position <= len(data)
    return False


def _is_whole_jpeg(data: bytes, start: int) -> bool:
    return data.find(_JPEG_END, start) > 0 and data.count(_JPEG_SCAN, start) <= _MAX_SCANS


def _unreadable(data: bytes | mmap) -> InputError:
    return InputError(f"not a readable PNG or JPEG image ({len(data)} bytes)")
