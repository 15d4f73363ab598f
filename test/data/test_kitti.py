import shutil

import numpy as np
import pytest

from km3d_ros.data.kitti import (
    KittiDataset,
    KittiObject,
    find_images,
    read_labels,
    read_projection,
    read_results,
    write_calibration,
    write_objects,
)
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel

LABEL = "Car 0.00 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
PROJECTION = np.array([[721.5, 0, 609.6, 44.9], [0, 721.5, 172.9, 0.22], [0, 0, 1, 0.003]])
SPLITS = {
    "train": ["000002", "000000"],
    "val": ["000001"],
    "trainval": ["000000", "000001", "000002"],
    "test": ["000000", "000001"],
}

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


def make_dataset(root, names=("000001", "000000")):
    for part in ("image_2", "label_2", "calib"):
        (root / part).mkdir(parents=True)
    for name in names:
        (root / "image_2" / f"{name}.png").touch()
        (root / "label_2" / f"{name}.txt").write_text(f"{LABEL}\n")
        write_calibration(root / "calib" / f"{name}.txt", PROJECTION)


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


def test_calibration_reads_back_exactly(tmp_path):
    projection = np.where(PROJECTION > 1, PROJECTION + 1 / 3, PROJECTION)
    write_calibration(tmp_path / "calib.txt", projection)
    np.testing.assert_array_equal(read_projection(tmp_path / "calib.txt"), projection)


@pytest.mark.parametrize("folder", [".", "training"])
def test_dataset_finds_its_folders_and_sorts_frames(tmp_path, folder):
    make_dataset(tmp_path / folder)
    dataset = KittiDataset(tmp_path)
    assert [dataset[i].name for i in range(len(dataset))] == ["000000", "000001"]
    frame = dataset[1]
    assert frame.image_path.name == "000001.png"
    assert frame.objects[0].class_name == "Car"
    np.testing.assert_array_equal(frame.projection, PROJECTION)


def test_split_names_the_frames_in_its_order(tmp_path):
    make_dataset(tmp_path / "training", names=("000000", "000001", "000002"))
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("000002\n000000\n")
    assert [frame.name for frame in KittiDataset(tmp_path, "val")] == ["000002", "000000"]


@pytest.fixture
def benchmark(tmp_path):
    """The benchmark's layout: training and testing number their frames alike."""
    make_dataset(tmp_path / "training", names=("000000", "000001", "000002"))
    make_dataset(tmp_path / "testing", names=("000000", "000001"))
    shutil.rmtree(tmp_path / "testing" / "label_2")
    (tmp_path / "ImageSets").mkdir()
    for split, names in SPLITS.items():
        (tmp_path / "ImageSets" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return tmp_path


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_benchmark_splits_name_labelled_frames(benchmark, split):
    frames = KittiDataset(benchmark, split)
    assert [frame.name for frame in frames] == list(SPLITS[split])
    assert {frame.image_path.parent for frame in frames} == {benchmark / "training" / "image_2"}
    assert all(len(frame.objects) == 1 for frame in frames)


def test_test_split_has_no_labels_and_is_not_mistaken_for_training(benchmark):
    with pytest.raises(InputError, match=r"testing/label_2: no such folder"):
        KittiDataset(benchmark, "test")
    paths = find_images(benchmark, "test", ("calib",))
    assert [p.parent for p in paths] == [benchmark / "testing" / "image_2"] * 2


@pytest.mark.parametrize(
    ("missing", "split", "message"),
    [
        ("training/calib/000001.txt", None, r"calib/000001\.txt: no such file"),
        ("training/label_2/000001.txt", None, r"label_2/000001\.txt: no such file"),
        ("training/calib", None, "calib: no such folder"),
        ("training/image_2/*", None, "image_2: no images in it"),
        ("training", None, "no KITTI folder; expected image_2, calib, label_2"),
        ("training/image_2/000001.png", "val", "no image of frame '000001'"),
        ("ImageSets/val.txt", "val", r"ImageSets/val\.txt: No such file"),
        ("nothing", "empty", r"empty\.txt: names no frames"),
    ],
)
def test_what_is_missing_from_a_folder_is_named(benchmark, missing, split, message):
    (benchmark / "ImageSets" / "empty.txt").touch()
    for path in benchmark.glob(missing):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=message):
        KittiDataset(benchmark, split)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P0: 1 2 3\n", r"calib\.txt: no P2 in this calibration file"),
        ("P0: 1\nP2: 1 2 3\n", r"calib\.txt:2: P2 has 3 numbers, not 12"),
        ("P2: 1 2 3 4 5 6 7 8 9 10 11 x\n", r"calib\.txt:1: 'x' is not a number"),
        ("P2: 0 0 0 0 0 0 0 0 0 0 1 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
        ("P2: 7 1 3 0 0 7 2 0 0 0 1 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
        ("P2: 7 0 3 0 0 7 2 0 0 0 0.5 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
    ],
)
def test_bad_calibration_is_named(tmp_path, text, message):
    path = tmp_path / "calib.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_projection(path)


@pytest.mark.parametrize("skew", [-0.236, 2.8])
def test_skewed_projection_is_read_as_any_camera_takes_it(tmp_path, skew):
    path = tmp_path / "calib.txt"
    matrix = np.array([[721.5, skew, 609.6, 44.9], [0, 721.5, 172.9, 0.2], [0, 0, 1, 0.003]])
    write_calibration(path, matrix)
    np.testing.assert_array_equal(read_projection(path), matrix)
    np.testing.assert_allclose(
        CameraModel.from_projection(read_projection(path), 1242, 375).projection, matrix
    )


def test_binary_label_file_is_refused(tmp_path):
    (tmp_path / "000000.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        read_labels(tmp_path / "000000.txt")


NUSCENES = (
    "car 0.00 4 -10.00 600.12 150.20 700.30 220.50 1.50 1.90 4.60 -2.00 1.60 25.00 0.30 {}\n"
)


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


def test_byte_order_marks_lose_no_object_no_calibration_and_no_frame(tmp_path):
    make_dataset(tmp_path)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("000001\r\n000000\r\n")
    for path in tmp_path.rglob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    frames = KittiDataset(tmp_path, "val")
    assert [frame.name for frame in frames] == ["000001", "000000"]
    for frame in frames:
        assert [item.class_name for item in frame.objects] == ["Car"]
        np.testing.assert_array_equal(frame.projection, PROJECTION)


def test_projections_are_found_by_name_in_both_calibration_formats(tmp_path):
    path = tmp_path / "calib.txt"
    numbers = "700 0 600 {} 0 700 180 0 0 0 1 0"
    path.write_text(f"P2: {numbers.format(44)}\nP3: {numbers.format(-340)}\n")
    assert [read_projection(path, name)[0, 3] for name in ("P2", "P3")] == [44, -340]
    path.write_text(
        "calib_time: 09-Jan-2012 13:57:47\nS_rect_02: 1242 375\n"
        f"P_rect_02: {numbers.format(45)}\nP_rect_03: {numbers.format(-339)}\n"
    )
    assert [read_projection(path, name)[0, 3] for name in ("P2", "P3")] == [45, -339]
    with pytest.raises(InputError, match='no P0 in this calibration file; expected a line "P0: '):
        read_projection(path, "P0")


@pytest.mark.parametrize("focal", [1, 0.58])
def test_projection_that_is_not_in_pixels_is_refused(tmp_path, focal):
    path = tmp_path / "calib.txt"
    path.write_text(f"P2: {focal} 0 0 0 0 {focal} 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match=rf"calib\.txt:1: P2 has a focal length of {focal}, "):
        read_projection(path)


def test_images_that_share_their_files_are_refused(tmp_path):
    make_dataset(tmp_path)
    (tmp_path / "image_2" / "000001.jpg").touch()
    with pytest.raises(InputError, match=r"/000001\.jpg and 000001\.png: two images of one"):
        KittiDataset(tmp_path)


def test_companions_that_macos_writes_are_no_frames(tmp_path):
    make_dataset(tmp_path)
    for path in [*tmp_path.rglob("*.txt"), *tmp_path.rglob("*.png")]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert [frame.name for frame in KittiDataset(tmp_path)] == ["000000", "000001"]
