import pickle

import numpy as np
import pytest
from support.box_files import CLASSES, HEIGHT, WIDTH, P, image, kitti, line, seen, street

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.calibration import write_calibration
from km3d_ros.errors import InputError


@pytest.mark.parametrize("folder", [".", "training"])
def test_kitti_folder_opens_with_2d_boxes_and_without_3d(tmp_path, folder):
    real = "1.5 1.6 3.9 -2 1.7 20 1.2"
    labels = {
        "0": line("Car", 1, 2, 30, 40) + line("Pedestrian", 5.5, 6, 7, 8, geometry=real),
        "1": "",
    }
    kitti(tmp_path / folder, labels)
    frames = open_boxes([tmp_path], CLASSES)
    assert [frame.name for frame in frames] == ["0", "1"]
    assert frames[0].image_path == tmp_path / folder / "image_2" / "0.png"
    assert seen(frames) == [("Car", (1, 2, 30, 40)), ("Pedestrian", (5.5, 6, 7, 8))]
    for item in frames[0].objects:
        assert not item.has_box3d
        assert (item.size, item.center) == ((-1,) * 3, (-1000,) * 3)
        assert (item.alpha, item.yaw, item.score) == (-10, -10, None)
    assert frames.report == [f"{tmp_path}: 2 images, 1 Car, 1 Pedestrian, 0 Cyclist"]


def test_occlusion_and_truncation_of_a_label_are_kept(tmp_path):
    text = line("Car", 1, 2, 30, 40).replace("-1 -1", "0.25 3", 1)
    (item,) = open_boxes([kitti(tmp_path, {"0": text})], CLASSES)[0].objects
    assert (item.truncation, item.occlusion) == (0.25, 3)


def test_results_of_a_detector_are_read_whatever_their_3d_columns_say(tmp_path):
    odd = line("car", 1, 2, 30, 40, geometry="500 -3 2 9999 0 0 77")
    scored = odd.replace("\n", " 0.75\n")
    frames = open_boxes([kitti(tmp_path, {"0": odd + scored})], CLASSES)
    assert seen(frames) == [("Car", (1, 2, 30, 40))] * 2
    assert frames[0].objects[1].score is None


def test_image_without_objects_is_kept_as_a_negative(tmp_path):
    path = street(tmp_path, (3, 1, 2, 30, 40), images=("a.jpg", "b.jpg"))
    frames = open_boxes([kitti(tmp_path / "k", {"0": ""}), path], CLASSES)
    assert [len(frame.objects) for frame in frames] == [0, 1, 0]


def test_kitti_calibration_is_optional_for_every_image(tmp_path):
    kitti(tmp_path, {"0": line("Car", 1, 2, 30, 40), "1": ""})
    (tmp_path / "calib").mkdir()
    write_calibration(tmp_path / "calib" / "1.txt", P)
    frames = open_boxes([tmp_path], CLASSES)
    assert frames[0].projection is None
    np.testing.assert_array_equal(frames[1].projection, P)


def test_box_over_the_border_is_clipped_and_one_outside_left_out(tmp_path):
    text = (
        line("Car", -5, -6, 200, 300)
        + line("Car", 170, 10, 190, 20)
        + line("Car", -9, 10, 0, 20)
        + line("Car", 9, 10, 9, 20)
        + line("Car", 30, 10, 20, 20)
    )
    frames = open_boxes([kitti(tmp_path, {"0": text})], CLASSES)
    assert seen(frames) == [("Car", (0, 0, WIDTH - 1, HEIGHT - 1))]
    assert frames.report[0].endswith(
        "left out: 2 boxes outside the image (first: 0.txt:2), "
        "2 boxes without area (first: 0.txt:4)"
    )


def test_images_without_labels_and_labels_without_images_are_counted(tmp_path):
    kitti(tmp_path, {"0": line("Car", 1, 2, 30, 40)})
    for name in ("1", "2"):
        image(tmp_path / "image_2" / f"{name}.png")
    (tmp_path / "label_2" / "9.txt").touch()
    frames = open_boxes([tmp_path], CLASSES)
    assert len(frames) == 1
    assert frames.report[0].endswith(
        "left out: 2 images without labels (first: 1.png), "
        "1 label file without image (first: 9.txt)"
    )


def test_images_that_differ_in_their_suffix_share_a_label(tmp_path):
    kitti(tmp_path, {"0": line("Car", 1, 2, 30, 40)})
    image(tmp_path / "image_2" / "0.jpg")
    frames = open_boxes([tmp_path], CLASSES)
    assert [frame.image_path.name for frame in frames] == ["0.jpg", "0.png"]
    assert seen(frames, 0) == seen(frames, 1) == [("Car", (1, 2, 30, 40))]


def test_one_name_in_two_folders_gives_two_frames(tmp_path):
    paths = [kitti(tmp_path / part, {"0": line("Car", 1, 2, 30, 40)}) for part in "ab"]
    frames = open_boxes(paths, CLASSES)
    assert [frame.name for frame in frames] == ["0", "0"]
    assert [line.partition(": ")[2] for line in frames.report] == [
        "1 image, 1 Car, 0 Pedestrian, 0 Cyclist"
    ] * 2


def test_frames_survive_pickling(tmp_path):
    frames = open_boxes([street(tmp_path, (3, 1, 2, 30, 40))], CLASSES)
    again = pickle.loads(pickle.dumps(frames))
    assert (list(again), again.report) == (list(frames), frames.report)


def test_nothing_to_learn_from_says_what_was_found(tmp_path):
    path = street(tmp_path, (8, 1, 2, 30, 40), (62, 1, 2, 30, 40))
    folder = kitti(tmp_path / "k", {"0": ""})
    message = (
        r"no Car, Pedestrian, Cyclist to learn from; found: .*/street\.json: 1 image, .*truck 1"
        r".*chair 1.* \| .*/k: 1 image"
    )
    with pytest.raises(InputError, match=message):
        open_boxes([path, folder], CLASSES)


@pytest.mark.parametrize("score", ["", " 0.5"])
def test_fractions_in_kitti_labels_are_refused(tmp_path, score):
    text = line("Car", 0.1, 0.2, 0.3, 1.0).replace("\n", f"{score}\n")
    with pytest.raises(InputError, match=r"no box coordinate exceeds 1; expected pixels, not fra"):
        open_boxes([kitti(tmp_path, {"0": text})], CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("Car", 1, 2, "nan", 4), r"0\.txt:1: 'nan' is not a finite number"),
        (line("Car", 1, 2, 30, 40) + "Car 1 2 3 4\n", r"0\.txt:2: 5 columns, expected 15"),
    ],
)
def test_broken_line_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_boxes([kitti(tmp_path, {"0": text})], CLASSES)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        open_boxes([tmp_path / "none.json"], CLASSES)
    with pytest.raises(InputError, match="no KITTI folder; expected image_2"):
        open_boxes([tmp_path], CLASSES)
    image(tmp_path / "image_2" / "0.png")
    with pytest.raises(InputError, match="label_2: no such folder"):
        open_boxes([tmp_path], CLASSES)
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2" / "1.txt").touch()
    message = r"label_2: no label file of any image \(1 image without labels \(first: 0\.png\), 1 "
    with pytest.raises(InputError, match=message):
        open_boxes([tmp_path], CLASSES)


def test_unreadable_image_is_named(tmp_path):
    path = street(tmp_path, (3, 1, 2, 30, 40))
    (tmp_path / "a.jpg").write_bytes(b"GIF89a" + bytes(50))
    with pytest.raises(InputError, match=r"a\.jpg: not a readable PNG or JPEG image"):
        open_boxes([path], CLASSES)


def test_calibration_that_does_not_fit_its_image_is_named(tmp_path):
    kitti(tmp_path, {"0": line("Car", 1, 2, 30, 40)})
    (tmp_path / "calib").mkdir()
    write_calibration(tmp_path / "calib" / "0.txt", P + [[0, 0, 100, 0], [0] * 4, [0] * 4])
    message = r"calib/0\.txt: principal point \(180, 48\), expected inside the image of 160x96 pix"
    with pytest.raises(InputError, match=message):
        open_boxes([tmp_path], CLASSES)
    (tmp_path / "calib" / "0.txt").write_text("P0: 1\n")
    with pytest.raises(InputError, match=r"calib/0\.txt: no P2 in this calibration file"):
        open_boxes([tmp_path], CLASSES)
