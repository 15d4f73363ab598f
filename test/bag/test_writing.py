import sqlite3

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.interfaces import QosDurability, QosHistory, QosReliability
from rosbags.rosbag2 import Reader
from support.recordings import START, random_messages, read, write

from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.writing import RecordingWriter
from km3d_ros.errors import InputError

STORAGES = ["mcap", "sqlite3"]
NUMBERS = """
- {history: 1, depth: 7, reliability: 2, durability: 1, deadline: {sec: 0, nsec: 0},
   lifespan: {sec: 0, nsec: 0}, liveliness: 1, liveliness_lease_duration: {sec: 0, nsec: 0},
   avoid_ros_namespace_conventions: false}
"""
NAMES = NUMBERS
for _name, _number in {
    "history: keep_last": "history: 1",
    "reliability: best_effort": "reliability: 2",
    "durability: transient_local": "durability: 1",
    "liveliness: automatic": "liveliness: 1",
}.items():
    NAMES = NAMES.replace(_number, _name)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("qos", [NUMBERS, NAMES])
def test_quality_of_service_is_written_as_every_distribution_reads_it(tmp_path, storage, qos):
    topic = Topic("/a", "pkg/msg/A", qos=qos)
    file = write(tmp_path / "bag", [Message(topic, START, b"data", START)], storage)
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    (described,) = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    assert metadata["rosbag2_bagfile_information"]["version"] == 8
    written = described["topic_metadata"]["offered_qos_profiles"]
    assert yaml.safe_load(written) == yaml.safe_load(NUMBERS)
    assert read(file)[0][0].topic.qos == written
    with Reader(tmp_path / "bag") as reader:
        (profile,) = reader.connections[0].ext.offered_qos_profiles
    assert (profile.history, profile.depth) == (QosHistory.KEEP_LAST, 7)
    assert profile.reliability == QosReliability.BEST_EFFORT
    assert profile.durability == QosDurability.TRANSIENT_LOCAL


@pytest.mark.parametrize("storage", STORAGES)
def test_metadata_says_what_is_in_the_file(tmp_path, storage):
    file = write(tmp_path / "bag", random_messages(9), storage)
    with Reader(tmp_path / "bag") as reader:
        assert {c.topic: c.msgcount for c in reader.connections} == {"/a": 5, "/b": 4}
        assert (reader.start_time, reader.duration) == (START, 8001)
        assert len(list(reader.messages())) == 9
    if storage == "mcap":
        with file.open("rb") as stream:
            (record,) = make_reader(stream).iter_metadata()
        inside = yaml.safe_load(record.metadata["serialized_metadata"])
    else:
        with sqlite3.connect(file) as database:
            ((version, text),) = database.execute(
                "SELECT metadata_version, metadata FROM metadata"
            )
        assert version == 8
        inside = yaml.safe_load(text)
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    assert inside == metadata["rosbag2_bagfile_information"]
    assert inside["relative_file_paths"] == [file.name]
    assert inside["starting_time"] == {"nanoseconds_since_epoch": START}


@pytest.mark.parametrize("storage", STORAGES)
def test_error_while_writing_leaves_nothing(tmp_path, storage):
    writer = RecordingWriter(tmp_path / "bag", tmp_path / "scratch", storage)
    with pytest.raises(ZeroDivisionError), writer:
        writer.write(random_messages(1)[0]._replace(time=1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_writer_that_died_are_replaced(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "bag_0.mcap").write_bytes(b"remains")
    write(tmp_path / "bag", random_messages(3))
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
    assert read(tmp_path / "bag") == (random_messages(3), [])


def test_errors_of_sqlite_name_the_file(tmp_path):
    writer = RecordingWriter(tmp_path / "bag", tmp_path / "scratch", "sqlite3")
    with pytest.raises(InputError, match=r"scratch/bag_0\.db3: .*NOT NULL"), writer:
        writer.write(random_messages(1)[0]._replace(data=None))
