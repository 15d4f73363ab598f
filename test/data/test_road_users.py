import pytest
from support.box_files import CLASSES, kitti, line, seen, street

from km3d_ros.data.boxes import open_boxes


def test_person_on_a_bicycle_is_one_cyclist(tmp_path):
    path = street(
        tmp_path,
        (1, 20, 10, 20, 40),  # rides
        (2, 15, 30, 30, 30),
        (1, 100, 10, 20, 40),  # walks
        (4, 60, 30, 30, 30),  # parked
    )
    frames = open_boxes([path], CLASSES)
    assert seen(frames) == [
        ("Cyclist", (15, 10, 45, 60)),
        ("Pedestrian", (100, 10, 120, 50)),
        ("DontCare", (60, 30, 90, 60)),
    ]
    assert frames.report[0].endswith("1 Pedestrian, 1 Cyclist; 1 region ignored (motorcycle 1)")


@pytest.mark.parametrize(("shared", "rides"), [(5, False), (6, True)])
def test_rider_shares_more_than_a_quarter_of_the_smaller_box(tmp_path, shared, rides):
    path = street(tmp_path, (1, 20, 10, 20, 40), (2, 40 - shared, 10, 20, 40))
    names = [name for name, _ in seen(open_boxes([path], CLASSES))]
    assert names == (["Cyclist"] if rides else ["Pedestrian", "DontCare"])


def test_bicycle_has_one_rider_who_overlaps_it_most(tmp_path):
    path = street(tmp_path, (1, 10, 10, 20, 40), (1, 20, 10, 20, 40), (2, 20, 30, 20, 30))
    assert seen(open_boxes([path], CLASSES)) == [
        ("Pedestrian", (10, 10, 30, 50)),
        ("Cyclist", (20, 10, 40, 60)),
    ]


def test_pedestrian_of_kitti_rides_no_bicycle(tmp_path):
    text = line("Pedestrian", 20, 10, 40, 50) + line("bicycle", 20, 10, 40, 50)
    names = [name for name, _ in seen(open_boxes([kitti(tmp_path, {"0": text})], CLASSES))]
    assert names == ["Pedestrian", "DontCare"]


def test_rider_is_a_region_where_cyclists_are_not_trained(tmp_path):
    path = street(tmp_path, (1, 20, 10, 20, 40), (2, 15, 30, 30, 30), (3, 1, 2, 30, 40))
    frames = open_boxes([path], ("Car",))
    assert seen(frames) == [("DontCare", (15, 10, 45, 60)), ("Car", (1, 2, 31, 42))]
    assert frames.report == [f"{path}: 1 image, 1 Car; 1 region ignored (Cyclist 1)"]


def test_trained_class_of_any_name_is_taught(tmp_path):
    path = street(tmp_path, (8, 1, 2, 30, 40), (2, 1, 2, 30, 40), (1, 1, 2, 30, 40))
    frames = open_boxes([path], ("Truck", "Bicycle", "Person"))
    assert [name for name, _ in seen(frames)] == ["Truck", "Bicycle", "Person"]
    assert frames.report == [f"{path}: 1 image, 1 Truck, 1 Bicycle, 1 Person"]


def test_other_road_users_are_regions_and_other_things_background(tmp_path):
    crowd = {"id": 7, "image_id": 0, "category_id": 1, "bbox": [9, 9, 50, 50], "iscrowd": 1}
    path = street(tmp_path, crowd, (8, 1, 2, 3, 4), (62, 5, 6, 7, 8), (3, 1, 2, 30, 40))
    text = "".join(line(n, 1, 2, 9, 9) for n in ("Van", "Person_sitting", "DontCare", "CAR"))
    frames = open_boxes([path, kitti(tmp_path / "k", {"0": text})], CLASSES)
    assert [name for name, _ in seen(frames)] == ["DontCare", "DontCare", "Car"]
    assert [name for name, _ in seen(frames, 1)] == ["DontCare"] * 3 + ["Car"]
    assert [line.partition("Cyclist; ")[2] for line in frames.report] == [
        "2 regions ignored (crowd 1, truck 1); "
        "1 box of other classes taken as background (chair 1)",
        "3 regions ignored (Van 1, Person_sitting 1, DontCare 1)",
    ]


def test_report_lists_the_most_frequent_names_and_counts_the_others(tmp_path):
    names = [{"id": i, "name": f"thing {i}" if i else "car"} for i in range(11)]
    found = [(i, 1, 2, 30, 40) for i in (*range(11), 9)]
    (report,) = open_boxes([street(tmp_path, *found, categories=names)], CLASSES).report
    assert "11 boxes of other classes taken as background (thing 9 2, thing 1 1" in report
    assert report.endswith("thing 7 1, and 2 more)")
