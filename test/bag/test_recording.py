import shutil
import sqlite3

import numpy as np
import pytest
from mcap.writer import Writer
from support.recordings import (
    TOPICS,
    ends_in_mcap,
    ends_in_sqlite,
    random_messages,
    read,
    write,
)

from km3d_ros.bag.recording import Recording
from km3d_ros.errors import InputError

STORAGES = [("mcap", ""), ("mcap", "lz4"), ("mcap", "zstd"), ("sqlite3", "")]
CUTS = 20


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
    assert (recording.storage, recording.compression()) == (storage, compression)


def test_mcap_cut_anywhere_keeps_every_complete_message(tmp_path):
    messages = random_messages(100)
    file = write(tmp_path / "a.mcap", messages)
    ends = ends_in_mcap(file.read_bytes())
    assert len(ends) == 100
    for size in offsets(file):
        found, spots = read(cut(file, size))
        assert found == messages[: sum(end <= size for end in ends)]
        assert len(spots) == 1
        assert f"of {size}" in spots[0] or f"ends at byte {size}" in spots[0]


def test_mcap_without_chunks_cut_anywhere_keeps_every_complete_message(tmp_path):
    messages = random_messages(50)
    file = tmp_path / "a.mcap"
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
        writer.finish()
    ends = ends_in_mcap(file.read_bytes())
    for size in offsets(file):
        found, _ = read(cut(file, size))
        assert contents(found) == contents(messages[: sum(end <= size for end in ends)])


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_mcap_cut_anywhere_keeps_complete_chunks_and_what_unpacks(
    tmp_path, compression
):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages, compression=compression)
    per_chunk = 53  # a chunk is closed when it exceeds 1 MiB
    beyond = 0
    for size in offsets(file):
        found, spots = read(cut(file, size))
        assert found == messages[: len(found)]
        complete = size * 300 // file.stat().st_size // per_chunk * per_chunk
        assert len(found) >= complete
        assert spots
        beyond += len(found) > complete
    assert beyond > CUTS / 2


@pytest.mark.parametrize("page_size", [512, 4096])
def test_sqlite3_cut_anywhere_keeps_every_complete_message(tmp_path, page_size):
    messages = random_messages(400, (200, 40, 3000))
    file = write(tmp_path / "bag", messages, "sqlite3")
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("VACUUM")
    ends = ends_in_sqlite(file, messages)
    assert max(ends) <= file.stat().st_size
    for size in offsets(file):
        found, spots = read(cut(file, size))
        expected = [m for m, end in zip(messages, ends, strict=True) if end <= size]
        assert contents(found) == contents(expected)
        assert spots or len(found) == len(messages)


def test_sqlite3_tree_that_lost_its_upper_pages_is_read_from_its_leaves(tmp_path):
    messages = random_messages(400, (200,))
    file = write(tmp_path / "bag", messages, "sqlite3")
    half = cut(file, file.stat().st_size // 2)
    with sqlite3.connect(half) as database, pytest.raises(sqlite3.DatabaseError):
        database.execute("SELECT count(*) FROM messages").fetchone()
    found, (spot, *_) = read(half)
    assert 150 < len(found) < 250
    assert contents(found) == contents(messages[: len(found)])
    assert spot == f"{half}: cut at byte {half.stat().st_size} of {file.stat().st_size}"


def test_damaged_chunk_costs_no_other_chunk(tmp_path):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages, compression="zstd")
    data = bytearray(file.read_bytes())
    position = data.index(b"zstd", len(data) // 2) + 200_000
    data[position : position + 140_000] = b"\xff" * 140_000  # longer than a block of zstd
    file.write_bytes(data)
    found, (spot,) = read(file)
    right = [message in found for message in messages]
    first, last = right.index(False), 299 - right[::-1].index(False)
    assert first // 53 == last // 53
    assert "a.mcap: chunk at byte" in spot
    assert "bytes can be unpacked, and what they say may be wrong" in spot


def test_chunk_with_a_flipped_bit_is_kept_and_named(tmp_path):
    messages = random_messages(3, (1000,))
    file = write(tmp_path / "a.mcap", messages)
    data = bytearray(file.read_bytes())
    data[data.index(messages[1].data) + 500] ^= 1
    file.write_bytes(data)
    found, (spot,) = read(file)
    assert [found[0], found[2]] == [messages[0], messages[2]]
    assert "wrong checksum" in spot


def test_reading_goes_on_at_the_next_chunk_that_the_index_knows(tmp_path):
    messages = random_messages(300, (20000,))
    file = write(tmp_path / "a.mcap", messages)
    data = bytearray(file.read_bytes())
    second = data.index(messages[53].data) - 22 - 9 - 40 - 9
    data[second : second + 9] = b"\xee" * 9
    file.write_bytes(data)
    found, (spot,) = read(file)
    assert found == messages[:53] + messages[106:]
    assert f"damaged at byte {second} of {len(data)}" in spot


def test_first_chunk_with_the_descriptions_of_topics_may_be_lost(tmp_path):
    messages = random_messages(100, (20000,))
    file = write(tmp_path / "a.mcap", messages, compression="zstd")
    data = bytearray(file.read_bytes())
    data[100:2000] = bytes(1900)
    file.write_bytes(data)
    found, _ = read(file)
    assert found == messages[-len(found) :]
    assert len(found) >= 40


def test_zeroed_page_of_sqlite3_costs_the_messages_on_it(tmp_path):
    messages = random_messages(400, (200,))
    file = write(tmp_path / "bag", messages, "sqlite3")
    data = bytearray(file.read_bytes())
    page = data.index(messages[200].data) // 4096 * 4096
    data[page : page + 4096] = bytes(4096)
    file.write_bytes(data)
    found, spots = read(file)
    lost = [m for m in messages if bytes(m.data) not in bytes(data)]
    assert 10 < len(lost) < 30
    assert contents(found) == contents([m for m in messages if m not in lost])
    assert "damaged after message" in spots[0]


def test_overflow_page_that_is_lost_names_the_message(tmp_path):
    messages = random_messages(5, (30000,))
    file = write(tmp_path / "bag", messages, "sqlite3")
    data = bytearray(file.read_bytes())
    page = data.index(messages[2].data[20000:20030]) // 4096 * 4096
    data[page : page + 4] = bytes(4)
    file.write_bytes(data)
    found, spots = read(file)
    assert contents(found) == contents([*messages[:2], *messages[3:]])
    assert "message 3 (page at byte" in spots[1]


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
    assert contents(found) == contents(random_messages(5))
    assert spot.startswith(f"{file}-wal: cannot be read")


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
    found, spots = read(tmp_path / name)
    assert found == []
    assert spots
    assert all(str(tmp_path / name) in spot for spot in spots)


def test_database_of_something_else_is_named(tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("CREATE TABLE topics(title)")
        database.execute("CREATE TABLE messages(id, topic_id, timestamp, data)")
        database.execute("INSERT INTO messages VALUES (1, 1, 'noon', 'text')")
    found, spots = read(tmp_path / "a.db3")
    assert found == []
    assert "not all of its topics can be read: no such column: id" in spots[0]
    assert "message 1 is of no known topic, or damaged" in spots[1]


def test_what_is_no_recording_is_refused(tmp_path):
    for name in ("a.mcap", "b.db3"):
        (tmp_path / name).touch()
    (tmp_path / "a.bag").touch()
    cases = {
        tmp_path / "missing": "no such file",
        tmp_path / "a.bag": r"expected \.mcap or \.db3",
        tmp_path: "found both",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=rf"{path.name}.*{message}"):
            Recording(path, tmp_path)
