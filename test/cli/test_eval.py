import json
import sys
from dataclasses import replace

import pytest
import torch
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.data.kitti_labels import KittiObject, write_objects
from km3d_ros.errors import pip_install

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
    assert table["Cyclist"]["aos"] == {"R11": [None] * 3, "R40": [None] * 3}
    assert (table["frames"], table["frames_without_results"]) == (80, 40)
    assert table["results_without_labels"] == 0
    assert table["objects"] == {"labels": {"Car": 80}, "results": {"Car": 40}}
    for key in ("median_relative_depth_error", "relative_depth_bias"):
        assert table[key]["Car"] == {"0-15": None, "15-30": pytest.approx(0.01), "30-50": None}


def test_limit_is_taken_from_the_command_line(folders, capsys):
    assert run(folders, "--json", "--iou", "0.95") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["Car"]["2d"]["R40"] == pytest.approx([50] * 3)
    assert table["Car"]["3d"]["R40"] == [0, 0, 0]


def test_table_shows_classes_and_depth_errors(folders, capsys):
    assert run(folders) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "80 frames; 40 without result file, whose objects count as misses (first: 000000)",
        "labels: Car 80",
        "results: Car 40",
    ]
    assert lines[5].split() == ["Car", "2d", *["50.00"] * 3, *["54.55"] * 3]
    assert lines[9].split() == ["Pedestrian", "2d", *["-"] * 6]
    assert lines[-8].split() == ["Car", "-", "1.0", "%", "-", "-", "+1.0", "%", "-"]
    assert lines[-3].split() == ["Car", "-", "50", "%", "-", "0.00"]


def write_records(folders, deviation):
    """`detections.jsonl` of the results, off by 0.2 m in z, with a standard deviation of z."""
    covariance = torch.diag(torch.tensor([1.0, 1.0, deviation**2, 1.0])).tolist()
    shared = {"class_name": "Car", "box2d": CAR.box2d, "size": CAR.size, "alpha": CAR.alpha}
    with (folders[1] / "detections.jsonl").open("w") as file:
        for i in range(1, 80, 2):
            where = {"center": [0.0, 1.0, 20.2], "yaw": CAR.yaw, "covariance": covariance}
            where["depth_error"] = 0.04
            record = shared | where | {"score": 0.5}
            file.write(json.dumps({"image": f"{i:06d}.png", "detections": [record]}) + "\n")


@pytest.mark.parametrize(("deviation", "shares"), [(0.3, [100, 100]), (0.15, [0, 100])])
def test_honesty_of_covariances_is_told_where_there_are_any(folders, deviation, shares, capsys):
    write_records(folders, deviation)
    assert run(folders, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["covariance"]["Car"]
    assert figures["objects"] == 40
    assert figures["coverage"]["z"] == shares
    assert figures["coverage"]["x"] == [100, 100]
    assert run(folders) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[:2] == ["Car", "40"]


def test_damaged_records_are_named(folders, capsys):
    (folders[1] / "detections.jsonl").write_text('{"image": "000001.png"}\n')
    assert run(folders) == 1
    assert "detections.jsonl:1: not a line of detections.jsonl" in capsys.readouterr().err


def test_detector_is_run_on_every_frame(weights, tmp_path, capsys):
    data = write_frames(tmp_path, 4)
    network = ["eval", "--data", str(data), "--weights", str(weights), "--device", "cpu"]
    network += ["--backend", "torch", "--json"]
    assert main(network) == 0
    assert json.loads(capsys.readouterr().out)["Car"]["3d"]["R40"] == [0, 0, 0]
    assert main([*network, "--oracle", "hm,hps,dim,rot,prob"]) == 0
    # Three cars reach three of 41 steps of recall.
    table = json.loads(capsys.readouterr().out)
    assert table["Car"]["3d"]["R40"] == pytest.approx([5, 5, 5])
    assert table["relative_depth_bias"]["Car"]["0-15"] == pytest.approx(0, abs=1e-4)


def test_frames_of_a_detector_may_be_a_split(weights, tmp_path, capsys):
    data = write_frames(tmp_path, 4)
    (data / "ImageSets").mkdir()
    (data / "ImageSets" / "half.txt").write_text("000000\n000003\n")
    options = ["--split", "half", "--oracle", "hm,hps,dim,rot,prob", "--device", "cpu", "--json"]
    assert main(["eval", "--data", str(data), "--weights", str(weights), *options]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["Car"]["3d"]["R11"] == pytest.approx([100 / 11] * 3)


def test_missing_matplotlib_is_named(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(folders, "--plots", str(tmp_path / "plots")) == 1
    expected = f"km3d eval: --plots needs matplotlib: {pip_install('matplotlib')}\n"
    assert capsys.readouterr().err == expected


def test_plots_are_written(folders, tmp_path, capsys):
    assert run(folders, "--plots", str(tmp_path / "plots")) == 0
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "precision_car.png",
        "precision_pedestrian.png",
        "precision_cyclist.png",
        "depth_error.png",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected --labels and --results, or --data"),
        (["--labels", "l"], "expected --labels and --results, or --data"),
        (["--labels", "l", "--results", "r", "--oracle", "dim"], "--oracle does not go with"),
        (["--data", "d", "--results", "r"], "--results does not go with --data"),
    ],
)
def test_sources_that_do_not_go_together_are_wrong_usage(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["eval", *options])
    assert stop.value.code == 2
    assert f"km3d eval: error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--oracle", "dim,wings"], ["--iou", "1"], ["--iou", "x"]])
def test_values_that_do_not_exist_are_wrong_usage(folders, options, capsys):
    with pytest.raises(SystemExit) as stop:
        run(folders, *options)
    assert stop.value.code == 2
    reason = "is not between 0 and 1" if options[0] == "--iou" else "'wings' is not one of hm, hps"
    assert f"argument {options[0]}: " in (error := capsys.readouterr().err)
    assert reason in error


def test_result_without_score_is_named(folders, capsys):
    write_objects(folders[1] / "000003.txt", [CAR])
    assert run(folders) == 1
    assert "000003.txt:1: a result without a score" in capsys.readouterr().err


def test_folders_that_do_not_belong_together_are_refused(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run((folders[0], tmp_path / "empty")) == 1
    assert "no result file is named like a label file" in capsys.readouterr().err
    assert run((tmp_path / "empty", folders[1])) == 1
    assert "no label files" in capsys.readouterr().err


@pytest.mark.parametrize("folder", [".", "training"])
def test_result_files_are_evaluated_for_a_split(folders, tmp_path, folder, capsys):
    (tmp_path / folder).mkdir(exist_ok=True)
    labels = folders[0].rename(tmp_path / folder / "label_2")
    (tmp_path / "ImageSets").mkdir()
    names = "".join(f"{i:06d}\n" for i in range(1, 80, 2))
    (tmp_path / "ImageSets" / "half.txt").write_text(names)
    assert run((labels, folders[1]), "--split", "half", "--json") == 0
    table = json.loads(capsys.readouterr().out)
    # 40 objects reach 40 of the 41 steps of recall.
    assert table["Car"]["3d"]["R40"] == pytest.approx([97.5] * 3)
    assert (table["frames"], table["frames_without_results"]) == (40, 0)


def test_a_split_that_is_not_there_is_named(folders, capsys):
    assert run(folders, "--split", "val") == 1
    assert f"no val.txt in {folders[0].parent}/ImageSets or " in capsys.readouterr().err


def test_results_without_labels_are_counted(folders, capsys):
    write_objects(folders[1] / "900000.txt", [])
    assert run(folders) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith("1 result files without label file, not evaluated (first: 900000)")


def test_class_names_are_one_rule_for_every_figure(folders, capsys):
    assert run(folders, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    for path in folders[0].iterdir():
        path.write_text(path.read_text().replace("Car", "cAR"))
    for path in folders[1].iterdir():
        path.write_text(path.read_text().replace("Car", "CAR"))
    assert run(folders, "--json") == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_other_classes_are_evaluated_at_given_overlaps(folders, capsys):
    for path in [*folders[0].iterdir(), *folders[1].iterdir()]:
        path.write_text(path.read_text().replace("Car", "Bus"))
    for path in folders[1].iterdir():
        path.write_text(path.read_text() + path.read_text().replace("Bus", "Forklift"))
    assert run(folders, "--json", "--iou", "bus=0.95,Forklift=0.3") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["Bus"]["2d"]["R40"] == pytest.approx([50] * 3)
    assert table["Bus"]["3d"]["R40"] == [0, 0, 0]
    assert table["Forklift"]["3d"]["R40"] == [None] * 3
    assert table["relative_depth_bias"]["Bus"]["15-30"] == pytest.approx(0.01)


@pytest.mark.parametrize("center", [(0.0, 1.0, 0.0), (-1000.0, -1000.0, -1000.0)])
def test_json_of_unknown_locations_is_json(folders, center, capsys):
    for path in folders[0].iterdir():
        write_objects(path, [replace(CAR, center=center, alpha=-10.0)])
    assert run(folders, "--json") == 0

    def refuse(name):
        raise AssertionError(name)

    table = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert table["median_relative_depth_error"]["Car"] == dict.fromkeys(("0-15", "15-30", "30-50"))
    assert table["Car"]["3d"]["R40"] == [None] * 3
    assert "aos" not in table["Car"]
