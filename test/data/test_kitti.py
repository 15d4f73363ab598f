import shutil

import numpy as np
import pytest

from km3d_ros.data.calibration import write_calibration
from km3d_ros.data.kitti import KittiDataset, find_images, list_images
from km3d_ros.errors import InputError

LABEL = "Car 0.00 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


PROJECTION = np.array([[721.5, 0, 609.6, 44.9], [0, 721.5, 172.9, 0.22], [0, 0, 1, 0.003]])


SPLITS = {
    "train": ["000002", "000000"],
    "val": ["000001"],
    "trainval": ["000000", "000001", "000002"],
    "test": ["000000", "000001"],
}


def make_dataset(root, names=("000001", "000000")):
    for part in ("image_2", "label_2", "calib"):
        (root / part).mkdir(parents=True)
    for name in names:
        (root / "image_2" / f"{name}.png").touch()
        (root / "label_2" / f"{name}.txt").write_text(f"{LABEL}\n")
        write_calibration(root / "calib" / f"{name}.txt", PROJECTION)


@pytest.mark.parametrize("folder", [".", "training"])
def test_dataset_finds_its_folders_and_sorts_frames(tmp_path, folder):
    make_dataset(tmp_path / folder)
    dataset = KittiDataset(tmp_path)
    assert [dataset[i].name for i in range(len(dataset))] == ["000000", "000001"]
    frame = dataset[1]
    assert frame.image_path.name == "000001.png"
    assert frame.objects[0].class_name == "Car"
    np.testing.assert_array_equal(frame.projection, PROJECTION)


def test_files_that_macos_writes_beside_images_are_no_images(tmp_path):
    make_dataset(tmp_path)
    (tmp_path / "image_2" / "._000000.png").touch()
    assert [path.name for path in list_images(tmp_path / "image_2")] == [
        "000000.png",
        "000001.png",
    ]


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
