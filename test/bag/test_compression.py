import lz4.frame
import numpy as np
import pytest
import zstandard

from km3d_ros.bag import compression

NOISE = np.random.default_rng(0).bytes(2**20)
PACKERS = {"": bytes, "zstd": zstandard.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize("name", list(PACKERS))
def test_whole_frames_are_unpacked(name):
    assert compression.decompress(PACKERS[name](NOISE), name) == NOISE


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_frames_that_are_cut_damaged_or_too_large_are_refused(monkeypatch, name):
    packed = PACKERS[name](NOISE)
    with pytest.raises(ValueError, match=f"{name}: cut after"):
        compression.decompress(packed[:-1], name)
    with pytest.raises(ValueError, match=name):
        compression.decompress(b"\xff" * 20 + packed[20:], name)
    monkeypatch.setattr(compression, "_MOST", 2**16)
    with pytest.raises(ValueError, match="more than 1 GiB"):
        compression.decompress(packed, name)


def test_unknown_compression_is_named():
    with pytest.raises(ValueError, match="'brotli'"):
        compression.decompress(NOISE, "brotli")
