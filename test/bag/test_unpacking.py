import lz4.frame
import numpy as np
import pytest
import zstandard
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from support.recordings import START, random_messages, read, write

from km3d_ros.bag import unpacking
from km3d_ros.bag.unpacking import unpack

NOISE = np.random.default_rng(0).bytes(2**20)


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_files_and_messages_are_unpacked(tmp_path, storage, mode):
    writer = Writer(tmp_path / "bag", version=8, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", "pkg/msg/A", msgdef="string s", rihs01="RIHS01_a")
        for i in range(20):
            writer.write(connection, START + i, bytes([i]) * 1000)
    found, spots = read(tmp_path / "bag")
    assert [(message.topic.name, message.time, message.data) for message in found] == [
        ("/a", START + i, bytes([i]) * 1000) for i in range(20)
    ]
    assert spots == []


def test_compressed_file_that_is_cut_is_unpacked_as_far_as_it_goes(tmp_path):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages)
    packed = tmp_path / "b.mcap.zstd"
    packed.write_bytes(zstandard.compress(file.read_bytes())[:3_000_000])
    found, spots = read(packed)
    assert 100 < len(found) < 160
    assert found == messages[: len(found)]
    assert "b.mcap: cut or damaged" in spots[0]


def test_compressed_message_that_is_cut_is_left_out_and_named(tmp_path):
    packed = zstandard.compress(bytes(range(256)) * 40)
    with Writer(tmp_path / "bag", version=8) as writer:
        connection = writer.add_connection("/a", "pkg/msg/A", msgdef="string s", rihs01="RIHS01_a")
        for i, size in enumerate((len(packed), len(packed) - 1)):
            writer.write(connection, START + i, packed[:size])
    (message,), (spot,) = read(tmp_path / "bag")
    assert message.data == bytes(range(256)) * 40
    assert f"the message of {START + 1} ns is damaged and left out" in spot


@pytest.mark.parametrize(
    ("pack", "unpacker"),
    [
        (zstandard.compress, lambda: zstandard.ZstdDecompressor().decompressobj()),
        (lz4.frame.compress, lz4.frame.LZ4FrameDecompressor),
    ],
)
def test_no_more_is_unpacked_than_a_recording_can_hold(monkeypatch, pack, unpacker):
    assert unpack(unpacker(), pack(NOISE)) == NOISE
    monkeypatch.setattr(unpacking, "_MOST", 2**16)
    assert 2**16 < len(unpack(unpacker(), pack(NOISE))) < len(NOISE)
