"""What is compressed in recordings, unpacked as far as it goes, within bounded memory."""

from __future__ import annotations

from typing import Any

import zstandard

_PIECE = 1 << 12
"""Bytes that are unpacked at once: damage costs the rest of its piece."""
_MOST = 1 << 30
"""Bytes that anything is unpacked to: what claims to be more is no recording."""


def unpack(unpacker: Any, data: bytes) -> bytes:
    """What the data holds, up to where it is damaged or ends; more than 1 GiB is left out.

    unpacker: decompresses piece by piece, as those of lz4 and zstandard.
    """
    unpacked = bytearray()
    try:
        for start in range(0, len(data), _PIECE):
            unpacked += unpacker.decompress(data[start : start + _PIECE])
            if unpacker.eof or len(unpacked) > _MOST:
                break
    except (zstandard.ZstdError, RuntimeError, EOFError):
        pass
    return bytes(unpacked)
