import pytest
from support.frames import write_frames

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.label_report import report_labels
from km3d_ros.errors import InputError

LABEL = "Car 0.00 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
CLASSES = ("Car", "Pedestrian", "Cyclist")
BOX = "387.63 181.54 423.81 203.12"


def folder(root, *lines):
    """Two frames: the first with these labels, the second with none."""
    write_frames(root, 2)
    (root / "label_2" / "000000.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "label_2" / "000001.txt").write_text("")
    return KittiDataset(root, classes=CLASSES)


def test_report_counts_what_is_taught_ignored_and_unknown(tmp_path):
    frames = folder(
        tmp_path,
        LABEL,
        LABEL.replace("Car 0.00 1", "car 0.00 4"),
        LABEL.replace("0.00 1", "0.00 3"),
        LABEL.replace(BOX, "0 0 0 0"),
        LABEL.replace("-16.53 2.39 58.49", "-1000 -1000 -1000"),
        LABEL.replace("58.49", "-1.5"),
        LABEL.replace("Car", "Van"),
        LABEL.replace("Car", "DONTCARE"),
        LABEL.replace("Car", "traffic_cone"),
        LABEL.replace("Car", "traffic_cone"),
        LABEL.replace("Car", "cyclist"),
    )
    (line,) = report_labels([frames], CLASSES)
    assert line == (
        f"{tmp_path}: 2 frames; Car 2 taught, 4 ignored (occlusion 3 1, 2D box without area 1, "
        "without 3D box 1, behind the camera 1); Pedestrian 0 taught; Cyclist 1 taught; "
        "regions of other classes ignored: Van 1, DontCare 1; regions of unknown "
        "classes ignored: traffic_cone 2"
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], "2 frames; Car 0 taught; Pedestrian 0 taught"),
        ([LABEL.replace("Car", "Tram")], "regions of other classes ignored: Tram 1"),
        ([LABEL.replace("Car", "barrier")], "regions of unknown classes ignored: barrier 1"),
        ([LABEL.replace(BOX, "0 0 0 0")], r"1 ignored \(2D box without area 1\)"),
        ([LABEL.replace("0.00 1", "0.00 3")], r"1 ignored \(occlusion 3 1\)"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path, lines, found):
    frames = folder(tmp_path, *lines)
    with pytest.raises(InputError, match=rf"no Car, Pedestrian, Cyclist to learn .*{found}"):
        report_labels([frames], CLASSES)


def test_one_folder_may_teach_for_all(tmp_path):
    folders = [folder(tmp_path / "a"), folder(tmp_path / "b", LABEL)]
    assert len(report_labels(folders, CLASSES)) == 2


def test_boxes_that_are_fractions_of_the_image_are_refused(tmp_path):
    frames = folder(tmp_path, LABEL.replace(BOX, "0.31 0.48 0.34 0.54"))
    with pytest.raises(InputError, match=r"no box coordinate exceeds 0\.54; expected pixels"):
        report_labels([frames], CLASSES)
