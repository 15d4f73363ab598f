import numpy as np
import pytest

from km3d_ros.frames.bit_depth import BitDepth


def values(*numbers, dtype=np.uint16):
    return np.array(numbers, dtype)


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(1, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (65535, 16)],
)
def test_smallest_usual_depth_that_holds_the_largest_value_is_used(largest, bits):
    depth = BitDepth()
    result = depth.to_8_bits(values(0, largest))
    assert (result.dtype, result.tolist()) == (np.uint8, [0, largest >> (bits - 8)])
    assert depth.bits == bits


def test_depth_rises_with_the_values_of_a_stream_and_never_falls():
    changes = []
    depth = BitDepth(changes.append)
    results = [int(depth.to_8_bits(values(v))[0]) for v in (0, 512, 256, 4000, 1023, 0)]
    assert results == [0, 128, 64, 250, 63, 0]
    assert changes == [10, 12]


def test_8_bit_values_are_not_touched():
    depth, pixels = BitDepth(), values(3, 255, dtype=np.uint8)
    assert depth.to_8_bits(pixels) is pixels
    assert depth.bits == 0


def test_either_byte_order_is_read():
    assert BitDepth().to_8_bits(values(1023).astype(">u2")).tolist() == [255]
