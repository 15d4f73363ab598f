"""Decompression of chunks and messages of recordings within bounded memory.

`mcap` and rosbags allocate the size that a compressed chunk declares. Here a damaged or hostile
chunk takes at most 1 GiB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lz4.frame
import zstandard

_UNPACKERS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
_PIECE = 1 << 12
"""Compressed bytes that are decompressed at a time."""
_MOST = 1 << 30
"""Largest decompressed size in bytes."""


def decompress(data: bytes, compression: str) -> bytes:
    """Decompress a whole frame; `compression` is "lz4", "zstd", or "" for none.

    Raises:
        ValueError: the compression is unknown, or the frame is damaged, cut, or above 1 GiB.
    """
    if not compression:
        return data
    if compression not in _UNPACKERS:
        raise ValueError(f"unknown compression {compression!r}")
    unpacker = _UNPACKERS[compression]()
    unpacked = bytearray()
    try:
        for start in range(0, len(data), _PIECE):
            unpacked += unpacker.decompress(data[start : start + _PIECE])
            if len(unpacked) > _MOST:
                raise ValueError("more than 1 GiB")
            if unpacker.eof:
                return bytes(unpacked)
    except (zstandard.ZstdError, RuntimeError) as error:
        raise ValueError(f"{compression}: {error}") from error
    raise ValueError(f"{compression}: cut after {len(unpacked)} bytes")
