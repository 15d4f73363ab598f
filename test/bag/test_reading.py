import re
import shutil
import sqlite3

import numpy as np
import pytest
import zstandard
from mcap.writer import Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as RosbagsWriter
from support.recordings import START, TOPICS, random_messages, read, write

from km3d_ros.bag.reading import Recording
from km3d_ros.errors import InputError

STORAGES = [("mcap", ""), ("mcap", "lz4"), ("mcap", "zstd"), ("sqlite3", "")]
CUTS = 20
PER_CHUNK = 53
"""Messages of 20000 bytes: a chunk is closed when it exceeds 1 MiB."""


def contents(messages):
    return [(message.topic.name, message.time, message.data) for message in messages]


def cut(file, size):
    """A copy of the first bytes of a file, beside it."""
    part = file.with_name(f"cut{file.suffix}")
    part.write_bytes(file.read_bytes()[:size])
    return part


def offsets(file, seed=0):
    return np.random.default_rng(seed).integers(0, file.stat().st_size, CUTS).tolist()


@pytest.mark.parametrize(("storage", "compression"), STORAGES)
def test_recording_gives_back_what_was_written(tmp_path, storage, compression):
    messages = random_messages(40)
    write(tmp_path / "bag", messages, storage, compression)
    if storage == "sqlite3":  # it knows one time only
        messages = [m._replace(sent=m.time, sequence=0) for m in messages]
    assert read(tmp_path / "bag") == (messages, [])
    recording = Recording(tmp_path / "bag", tmp_path)
    assert list(recording.messages(print)) == messages
    assert (recording.storage, recording.compression) == (storage, compression)


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_mcap_cut_anywhere_keeps_every_complete_chunk(tmp_path, compression):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages, compression=compression)
    for size in offsets(file):
        found, (spot,) = read(cut(file, size))
        assert found == messages[: len(found)]
        assert len(found) == 300 or len(found) % PER_CHUNK == 0
        assert len(found) >= size * 300 // file.stat().st_size // PER_CHUNK * PER_CHUNK
        assert re.search(rf"cut\.mcap: cut or damaged at byte \d+ of {size}", spot)
        assert "`mcap recover` may find more" in spot


def test_mcap_without_chunks_cut_anywhere_keeps_every_complete_message(tmp_path):
    messages = random_messages(50)
    file = tmp_path / "a.mcap"
    ends = []
    with file.open("wb") as stream:
        writer = Writer(stream, use_chunking=False)
        writer.start("ros2")
        schemas = [writer.register_schema(topic.type, "", b"") for topic in TOPICS]
        channels = [
            writer.register_channel(topic.name, "cdr", schema)
            for topic, schema in zip(TOPICS, schemas, strict=True)
        ]
        for i, message in enumerate(messages):
            writer.add_message(channels[i % 2], message.time, message.data, message.sent, i)
            ends.append(stream.tell())
        writer.finish()
    for size in offsets(file):
        found, _ = read(cut(file, size))
        assert contents(found) == contents(messages[: sum(end <= size for end in ends)])


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_damaged_chunk_of_mcap_ends_what_is_read(tmp_path, compression):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages, compression=compression)
    data = bytearray(file.read_bytes())
    inside = messages[PER_CHUNK + 20].data[5000:5030]  # random bytes are stored as they are
    data[data.index(inside)] ^= 1
    file.write_bytes(data)
    found, (spot,) = read(file)
    assert found == messages[:PER_CHUNK]
    assert re.search(rf"a\.mcap: cut or damaged at byte \d+ of {len(data)}", spot)


@pytest.mark.parametrize("page_size", [512, 4096])
def test_sqlite3_cut_anywhere_keeps_what_sqlite_reads(tmp_path, page_size):
    messages = random_messages(400, (200, 40, 3000))
    file = write(tmp_path / "bag", messages, "sqlite3")
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("VACUUM")
    size = file.stat().st_size
    for cut_at in offsets(file):
        found, (spot, *others) = read(cut(file, cut_at))
        assert contents(found) == contents(messages[: len(found)])
        assert others == []
        assert f"cut.db3: cut at byte {cut_at} of {size}" in spot
        if page_size == 4096:  # few pages: the messages hang on the first one
            assert len(found) / 400 > cut_at / size - 0.06


def test_cut_sqlite3_keeps_messages_up_to_the_cut_and_names_it(tmp_path):
    messages = random_messages(400, (30000,))
    file = write(tmp_path / "bag", messages, "sqlite3")
    data = file.read_bytes()
    half = cut(file, data.index(messages[200].data[-30:]) + 15)
    found, (spot,) = read(half)
    assert contents(found) == contents(messages[:200])
    assert spot == (
        f"{half}: cut at byte {half.stat().st_size} of {file.stat().st_size}; "
        "`sqlite3 FILE .recover` may find more"
    )


def test_zeroed_page_of_sqlite3_ends_what_is_read(tmp_path):
    messages = random_messages(400, (200,))
    file = write(tmp_path / "bag", messages, "sqlite3")
    data = bytearray(file.read_bytes())
    page = data.index(messages[200].data) // 4096 * 4096
    data[page : page + 4096] = bytes(4096)
    file.write_bytes(data)
    found, (spot,) = read(file)
    assert 180 < len(found) <= 200
    assert contents(found) == contents(messages[: len(found)])
    assert f"damaged after message {len(found)}: database disk image is malformed" in spot


def test_recorder_that_died_leaves_no_metadata_but_a_log(tmp_path):
    messages = random_messages(10, (2000,))
    file = write(tmp_path / "bag", messages[:5], "sqlite3")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    for message in messages[5:]:
        row = (1 + (message.topic is TOPICS[1]), message.time, message.data)
        database.execute("INSERT INTO messages VALUES (NULL, ?, ?, ?)", row)
    database.commit()
    shutil.copytree(tmp_path / "bag", tmp_path / "dead")  # as the files are in this moment
    database.close()
    found, spots = read(tmp_path / "dead")
    assert contents(found) == contents(messages)
    assert spots == []


def test_log_that_cannot_be_read_is_named(tmp_path):
    file = write(tmp_path / "bag", random_messages(5), "sqlite3")
    file.with_name(f"{file.name}-wal").mkdir()
    found, (spot,) = read(file)
    assert found == []
    assert spot.startswith(f"{file}: damaged after message 0: unable to open database file")


def test_files_are_read_in_the_order_of_their_numbers_and_missing_ones_are_named(tmp_path):
    messages = random_messages(12)
    bag = tmp_path / "bag"
    bag.mkdir()
    for i, message in enumerate(messages):
        write(tmp_path / "a.mcap", [message]).rename(bag / f"bag_{i}.mcap")
    listed = ", ".join(f"bag_{i}.mcap" for i in range(13))
    (bag / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information: {{relative_file_paths: [{listed}]}}"
    )
    assert read(bag) == (messages, [f"{bag / 'bag_12.mcap'}: the file is missing"])


@pytest.mark.parametrize("name", ["a.mcap", "a.db3"])
@pytest.mark.parametrize("content", [b"", b"no recording", bytes(5000)])
def test_file_that_is_no_recording_has_no_messages_and_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found, (spot,) = read(tmp_path / name)
    assert found == []
    assert str(tmp_path / name) in spot


def test_database_of_something_else_is_named(tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("CREATE TABLE topics(title)")
        database.execute("CREATE TABLE messages(id, topic_id, timestamp, data)")
    found, (spot,) = read(tmp_path / "a.db3")
    assert found == []
    assert "damaged after message 0: no such column: id" in spot


def test_what_is_no_recording_is_refused(tmp_path):
    for name in ("a.mcap", "b.db3"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").touch()
    cases = {
        tmp_path / "missing": "no such file",
        tmp_path / "a.txt": r"expected \.mcap, \.db3 or \.bag",
        tmp_path: "files of mcap and sqlite3, expected those of one recording",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=rf"{path.name}.*{message}"):
            Recording(path, tmp_path)


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_files_and_messages_are_unpacked(tmp_path, storage, mode):
    writer = RosbagsWriter(tmp_path / "bag", version=8, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", "pkg/msg/A", msgdef="string s", rihs01="RIHS01_a")
        for i in range(20):
            writer.write(connection, START + i, bytes([i]) * 1000)
    found, spots = read(tmp_path / "bag")
    assert contents(found) == [("/a", START + i, bytes([i]) * 1000) for i in range(20)]
    assert spots == []


def test_compressed_file_that_is_cut_is_unpacked_as_far_as_it_goes(tmp_path):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages)
    packed = tmp_path / "b.mcap.zstd"
    packed.write_bytes(zstandard.compress(file.read_bytes())[:3_000_000])
    found, (spot,) = read(packed)
    assert found == messages[: 2 * PER_CHUNK]
    assert "b.mcap: cut or damaged" in spot


def test_compressed_message_that_is_cut_is_left_out_and_named(tmp_path):
    packed = zstandard.compress(bytes(range(256)) * 40)
    messages = [m._replace(data=packed[: len(packed) - m.sequence]) for m in random_messages(2)]
    write(tmp_path / "bag", messages)
    (message,), (spot,) = read(tmp_path / "bag")
    assert message.data == bytes(range(256)) * 40
    assert f"the message of {messages[1].time} ns is damaged and left out" in spot
