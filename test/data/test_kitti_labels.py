import numpy as np
import pytest

from km3d_ros.data.kitti_labels import KittiObject, read_labels, read_results, write_objects
from km3d_ros.errors import InputError

LABEL = "Car 0.00 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


CAR = KittiObject(
    class_name="Car",
    truncation=0.25,
    occlusion=2,
    alpha=-1.5,
    box2d=(10.0, 20.5, 110.25, 80.0),
    size=(3.9, 1.6, 1.5),
    center=(-2.0, 0.9, 20.0),
    yaw=1.25,
)


NUSCENES = (
    "car 0.00 4 -10.00 600.12 150.20 700.30 220.50 1.50 1.90 4.60 -2.00 1.60 25.00 0.30 {}\n"
)


def test_label_line_becomes_an_object_with_its_geometric_centre(tmp_path):
    path = tmp_path / "label.txt"
    path.write_text(f"{LABEL}\n\n")
    (item,) = read_labels(path)
    assert item.class_name == "Car"
    assert item.occlusion == 1
    assert item.size == (3.69, 1.87, 1.67)
    assert item.center == pytest.approx((-16.53, 2.39 - 1.67 / 2, 58.49))
    assert item.yaw == 1.57
    assert item.score is None


@pytest.mark.parametrize(("score", "read"), [(None, read_labels), (0.123456, read_results)])
def test_written_objects_read_back_equal(tmp_path, score, read):
    item = KittiObject(**{**vars(CAR), "score": score})
    write_objects(tmp_path / "000000.txt", [item, item])
    first, second = read(tmp_path / "000000.txt")
    assert first == second
    assert first.center == pytest.approx(item.center)
    assert {**vars(first), "center": item.center} == vars(item)


def test_written_label_stores_the_bottom_centre(tmp_path):
    write_objects(tmp_path / "000000.txt", [CAR])
    columns = (tmp_path / "000000.txt").read_text().split()
    assert [float(c) for c in columns[8:14]] == [1.5, 1.6, 3.9, -2.0, 0.9 + 0.75, 20.0]


def test_empty_label_file_has_no_objects(tmp_path):
    write_objects(tmp_path / "000000.txt", [])
    assert read_labels(tmp_path / "000000.txt") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LABEL.rsplit(" ", 1)[0], r"000000\.txt:2: 14 columns, expected 15"),
        (LABEL.replace("58.49", "far"), r"000000\.txt:2: 'far' is not a number"),
        (LABEL.replace("3.69", "-3.69"), r"000000\.txt:2: length, .* \(-3\.69, .* -1 where unk"),
        (LABEL.replace("423.81", "42.381"), r"000000\.txt:2: 2D box .*, expected left, top"),
    ],
)
def test_bad_label_line_is_named(tmp_path, line, message):
    path = tmp_path / "000000.txt"
    path.write_text(f"{LABEL}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_binary_label_file_is_refused(tmp_path):
    (tmp_path / "000000.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        read_labels(tmp_path / "000000.txt")


@pytest.mark.parametrize("score", ["", "0.9", "-1.0000", "nan"])
def test_label_of_another_exporter_is_read_as_a_label(tmp_path, score):
    path = tmp_path / "a.txt"
    path.write_text(NUSCENES.format(score))
    (item,) = read_labels(path)
    assert (item.class_name, item.occlusion, item.score) == ("Car", -1, None)
    assert item.size == (4.6, 1.9, 1.5)
    assert item.observation_angle == pytest.approx(0.3 - np.arctan2(-2.0, 25.0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("van", "Van"),
        ("PEDESTRIAN", "Pedestrian"),
        ("person_sitting", "Person_sitting"),
        ("Person-Sitting", "Person_sitting"),
        ("Dontcare", "DontCare"),
        ("dont_care", "DontCare"),
        ("bus", "Bus"),
        ("forklift", "ForkLift"),
        ("traffic_cone", "traffic_cone"),
    ],
)
@pytest.mark.parametrize("read", [read_labels, read_results])
def test_class_names_are_read_in_their_canonical_spelling(tmp_path, read, name, expected):
    path = tmp_path / "a.txt"
    path.write_text(LABEL.replace("Car", name) + " 0.5\n")
    assert [item.class_name for item in read(path, ("ForkLift",))] == [expected]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.67 1.87 3.69", "1670 1870 3690", r"length, .* \(3690\.0, .* expected 0 to 100"),
        ("58.49", "1e30", "an object at .*, beyond 1000 m"),
        ("-16.53 2.39 58.49", "-16530 2390 58490", r"an object at .*, beyond 1000 m"),
        ("58.49 1.57", "58.49 90.0", r"rotation_y 90\.0, expected radians up to ±10"),
        (" 1.85 ", " 106.0 ", r"alpha 106\.0, expected radians"),
        ("Car 0.00", "Car 35", "truncation 35, expected 0 to 1, or -1"),
        ("58.49", "nan", "'nan' is not a finite number"),
    ],
)
@pytest.mark.parametrize("score", ["", " 0.9"])
def test_other_units_are_refused_with_and_without_a_score(tmp_path, score, old, new, message):
    path = tmp_path / "a.txt"
    path.write_text(LABEL.replace(old, new) + score + "\n")
    with pytest.raises(InputError, match=rf"a\.txt:1: {message}"):
        read_labels(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"center": (-1000.0, -1000.0, -1000.0)},
        {"center": (0.0, 0.0, 0.0)},
        {"yaw": -10.0},
        {"size": (-1.0, -1.0, -1.0)},
    ],
)
def test_unknown_values_make_no_3d_box(tmp_path, changes):
    item = KittiObject(**{**vars(CAR), **changes, "alpha": -10.0})
    write_objects(tmp_path / "a.txt", [item])
    (read,) = read_labels(tmp_path / "a.txt")
    assert {**vars(read), "center": item.center} == vars(item)
    assert read.center == pytest.approx(item.center)
    assert not read.has_box3d
    assert read.observation_angle is None
