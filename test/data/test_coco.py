import json
from pathlib import Path

import numpy as np
import pytest
from support.box_files import CLASSES, HEIGHT, WIDTH, P, coco_file, image, seen, street

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.calibration import write_calibration
from km3d_ros.errors import InputError


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("street.json", "."),
        ("street.json", "images"),
        ("annotations/street.json", "."),
        ("annotations/street.json", "images"),
    ],
)
def test_coco_images_are_found_around_the_file_with_their_calibration(tmp_path, file, images):
    root = tmp_path / "set"
    image(root / images / "day" / "a.jpg")
    (root / images / "calib").mkdir()
    write_calibration(root / images / "calib" / "a.txt", P)
    path = coco_file(root / file, (3, 10, 20, 30, 40), images=("day/a.jpg",))
    frames = open_boxes([path], CLASSES)
    assert frames[0].image_path == root / images / "day" / "a.jpg"
    assert seen(frames) == [("Car", (10, 20, 40, 60))]
    np.testing.assert_array_equal(frames[0].projection, P)
    assert frames.report == [f"{path}: 1 image (1 calibrated), 1 Car, 0 Pedestrian, 0 Cyclist"]


def test_relative_path_finds_the_calibration_beside_its_folder(tmp_path, monkeypatch):
    street(tmp_path / "images", (3, 10, 20, 30, 40))
    (tmp_path / "calib").mkdir()
    write_calibration(tmp_path / "calib" / "a.txt", P)
    monkeypatch.chdir(tmp_path / "images")
    (frame,) = open_boxes([Path("street.json")], CLASSES)
    np.testing.assert_array_equal(frame.projection, P)


def test_coco_box_without_area_is_left_out(tmp_path):
    path = street(tmp_path, (3, 1, 2, 30, 40), (3, 50, 50, -10, 10), (1, 50, 50, 0, 10))
    frames = open_boxes([path], CLASSES)
    assert [name for name, _ in seen(frames)] == ["Car"]
    assert frames.report[0].endswith("left out: 2 boxes without area (first: annotation 11)")


def test_coco_entries_that_do_not_meet_are_counted(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "other.jpg")
    lost = {"id": 7, "image_id": 99, "category_id": 3, "bbox": [1, 2, 30, 40]}
    path = coco_file(tmp_path / "c.json", (3, 1, 2, 30, 40), lost, images=("a.jpg", "b\n.jpg"))
    frames = open_boxes([path], CLASSES)
    assert [frame.name for frame in frames] == ["a"]
    assert frames.report[0].endswith(
        "left out: 1 box of no listed image (first: annotation 7), "
        r"1 image without file (first: 'b\n.jpg'), 1 image without labels (first: other.jpg)"
    )


def test_image_of_another_size_than_labelled_is_left_out(tmp_path):
    sizes = [(WIDTH, HEIGHT), (2 * WIDTH, 2 * HEIGHT), (0, 0), (None, HEIGHT)]
    path = street(tmp_path, (3, 1, 2, 9, 9), images=[f"{i}.jpg" for i in range(4)])
    content = json.loads(path.read_text())
    for entry, (width, height) in zip(content["images"], sizes, strict=True):
        entry |= {"width": width, "height": height}
    path.write_text(json.dumps(content))
    frames = open_boxes([path], CLASSES)
    assert [frame.name for frame in frames] == ["0", "2", "3"]
    assert frames.report[0].endswith(
        "1 image of another size than labelled (first: 1.jpg is 160x96, not 320x192)"
    )


def test_fractions_in_coco_are_refused_even_from_the_centre(tmp_path):
    path = street(tmp_path, (3, 0.9, 0.8, 0.2, 0.4), (3, 0.5, 0.5, 0.1, 0.1))
    with pytest.raises(InputError, match=r"street\.json: no box coordinate exceeds 0\.9; expecte"):
        open_boxes([path], CLASSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, r"annotation 7 has the bbox \[1, 2, nan, 4\], expec"),
        ({"bbox": [1, 2, 10**400, 4]}, "annotation 7 has the bbox .*four finite numbers"),
        ({"bbox": [1, 2, "3", 4]}, "four finite numbers"),
        ({"bbox": [1, 2, True, 4]}, "four finite numbers"),
        ({"bbox": [1, 2, 3]}, "four finite numbers"),
        ({"bbox": None}, "annotation 7 has the bbox None"),
        ({"category_id": 99}, "annotation 7 has the unknown category 99"),
        ({"category_id": [3]}, r"annotation 7 has the category_id \[3\], expected a number or"),
        ({"image_id": None}, "annotation 7 has the image_id None"),
        ({"id": "x\n", "image_id": None}, r"annotation 'x\\n' has the image_id None"),
    ],
)
def test_broken_annotation_is_named(tmp_path, changes, message):
    good = {"id": 7, "image_id": 0, "category_id": 3, "bbox": [1, 2, 30, 40]}
    with pytest.raises(InputError, match=rf"street\.json: .*{message}"):
        open_boxes([street(tmp_path, good | changes)], CLASSES)


def test_annotation_without_id_is_named_by_its_number(tmp_path):
    with pytest.raises(InputError, match="annotation number 1 has the category_id None"):
        open_boxes([street(tmp_path, (3, 1, 2, 9, 9), {})], CLASSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 0}]}, "image 0 has no file_name"),
        ({"images": [{"file_name": "a.jpg"}]}, "an image has the id None"),
        ({"images": [{"id": 0, "file_name": "a.jpg"}] * 2}, "two images have the id 0"),
        ({"images": [{"id": i, "file_name": "./a.jpg"} for i in (0, 1)]}, r"a\.jpg occurs twice"),
        ({"images": []}, r"no image file found in .*none listed"),
        ({"images": [{"id": 0, "file_name": "\ud800\0" * 99}]}, "1 image without file"),
        ({"categories": [{"id": 3}]}, "category 3 has no name"),
        ({"categories": [{"name": "car"}]}, "a category has the id None"),
        ({"annotations": None}, "not a COCO file; expected an object with lists images, annota"),
        ({"annotations": [3]}, "not a COCO file"),
    ],
)
def test_broken_coco_file_is_named(tmp_path, changes, message):
    annotations = [] if "images" in changes else [(3, 1, 2, 9, 9)]
    image(tmp_path / "a.jpg")
    path = coco_file(tmp_path / "street.json", *annotations)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=rf"street\.json: .*{message}"):
        open_boxes([path], CLASSES)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe\x00", b"[" * 1_000_000, b"9" * 10_000, b"\x00" * 9]
)
def test_file_that_is_no_json_is_named(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.json: not a (JSON|COCO) file"):
        open_boxes([tmp_path / "a.json"], CLASSES)


def test_list_of_detections_is_no_coco_file(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json: not a COCO file; expected an object"):
        open_boxes([tmp_path / "a.json"], CLASSES)


def test_coco_file_beyond_a_gibibyte_is_refused_unread(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(InputError, match=rf"a\.json: {2**30 + 1} bytes, expected a file of at"):
        open_boxes([tmp_path / "a.json"], CLASSES)
