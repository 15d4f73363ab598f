"""16-bit values that use fewer bits, such as those of 10, 12 and 14 bit sensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DEPTHS = (8, 10, 12, 14, 16)


class BitDepth:
    """The number of bits that the 16-bit values of one image stream use.

    The first image that is not black decides. A later value with more bits raises the number; it
    never falls, so that the brightness of a stream does not follow its content.

    bits: one of `DEPTHS`; 0 before the first value above zero.
    """

    def __init__(self, on_change: Callable[[int], None] | None = None) -> None:
        """Args: on_change: is called with each new number of bits."""
        self.bits = 0
        self._on_change = on_change

    def to_8_bits(self, values: np.ndarray) -> np.ndarray:
        """The upper eight of the bits in use, as uint8; uint8 values are returned unchanged."""
        if values.dtype.itemsize == 1:
            return values
        needed = int(values.max()).bit_length()
        if needed > self.bits:
            self.bits = next(bits for bits in DEPTHS if bits >= needed)
            if self._on_change:
                self._on_change(self.bits)
        return (values >> max(self.bits - 8, 0)).astype(np.uint8)
