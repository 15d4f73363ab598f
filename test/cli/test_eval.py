import json
from dataclasses import replace

import pytest

from km3d_ros.cli import main
from km3d_ros.data.kitti import KittiObject, write_objects

CAR = KittiObject(
    "Car", 0.0, 0, 0.5, (100.0, 100.0, 200.0, 150.0), (4.0, 2.0, 1.5), (0.0, 1.0, 20.0), 0.5
)


@pytest.fixture
def folders(tmp_path):
    labels, results = tmp_path / "labels", tmp_path / "results"
    labels.mkdir()
    results.mkdir()
    for i in range(80):
        write_objects(labels / f"{i:06d}.txt", [CAR])
        if i % 2:
            found = replace(CAR, center=(0.0, 1.0, 20.2), score=i / 100)
            write_objects(results / f"{i:06d}.txt", [found])
    return labels, results


def run(folders, *options):
    return main(["eval", "--labels", str(folders[0]), "--results", str(folders[1]), *options])


def test_json_has_every_figure_and_missing_files_are_misses(folders, capsys):
    assert run(folders, "--json") == 0
    table = json.loads(capsys.readouterr().out)
    for metric in ("2d", "bev", "3d"):
        assert table["Car"][metric]["R40"] == pytest.approx([50] * 3)
        assert table["Car"][metric]["R11"] == pytest.approx([600 / 11] * 3)
    assert table["Cyclist"]["aos"] == {"R11": [0, 0, 0], "R40": [0, 0, 0]}
    errors = table["median_relative_depth_error"]["Car"]
    assert errors == {"0-15": None, "15-30": pytest.approx(0.01), "30-50": None}


def test_limit_is_taken_from_the_command_line(folders, capsys):
    assert run(folders, "--json", "--iou", "0.95") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["Car"]["2d"]["R40"] == pytest.approx([50] * 3)
    assert table["Car"]["3d"]["R40"] == [0, 0, 0]


def test_table_shows_classes_and_depth_errors(folders, capsys):
    assert run(folders) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Car", "2d", *["50.00"] * 3, *["54.55"] * 3]
    assert lines[-1].endswith("0-15 m: none found   15-30 m: 1.0 %   30-50 m: none found")


def test_result_without_score_is_named(folders, capsys):
    write_objects(folders[1] / "000003.txt", [CAR])
    assert run(folders) == 1
    assert "000003.txt: a result without a score" in capsys.readouterr().err


def test_bad_line_is_named(folders, capsys):
    (folders[1] / "000003.txt").write_text("Car 1 2 3\n")
    assert run(folders) == 1
    assert "000003.txt:1: 4 columns, expected" in capsys.readouterr().err


def test_folders_that_do_not_belong_together_are_refused(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run((folders[0], tmp_path / "empty")) == 1
    assert "no result file is named like a label file" in capsys.readouterr().err
    assert run((tmp_path / "empty", folders[1])) == 1
    assert "no label files" in capsys.readouterr().err
