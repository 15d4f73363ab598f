"""`km3d town`: a KITTI folder, finished work kept, wrong usage refused."""

import numpy as np
import pytest
import torch

from km3d_ros.cli import main
from km3d_ros.data.image_file import read_image
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.town import render, sample_scene
from km3d_ros.town.dataset import prepare
from km3d_ros.town.lens import sample_camera, take


def town(out, *options: str) -> int:
    return main(["town", "--out", str(out), "--size", "320x96", "--workers", "1", *options])


def test_frames_are_a_kitti_data_set_with_exact_labels(tmp_path):
    assert town(tmp_path, "--frames", "3", "--seed", "5", "--focal", "0.60") == 0
    assert (tmp_path / "town.txt").read_text() == "--seed 5 --size 320x96 --focal 0.6\n"
    frames = KittiDataset(tmp_path, "train")
    assert [frames[k].name for k in range(len(frames))] == ["000000", "000001", "000002"]
    truth = render(sample_scene(5, 2), 320, 96, focal=0.6)
    frame = frames[2]
    np.testing.assert_array_equal(frame.projection, truth.projection)
    assert frame.projection[0, 0] == pytest.approx(0.6 * 320)
    assert [o.class_name for o in frame.objects] == [o.class_name for o in truth.objects]
    for written, item in zip(frame.objects, truth.objects, strict=True):
        np.testing.assert_allclose(written.center, item.center, atol=2e-4)
        np.testing.assert_allclose(written.box2d, item.box2d, atol=1e-3)
    error = read_image(frame.image_path).astype(int) - truth.image
    assert np.abs(error).mean() < 4


def test_frames_already_rendered_are_kept(tmp_path):
    town(tmp_path, "--frames", "1")
    picture = tmp_path / "training" / "image_2" / "000000.jpg"
    before = picture.stat().st_mtime_ns
    assert town(tmp_path, "--frames", "2") == 0
    assert picture.stat().st_mtime_ns == before
    assert len(KittiDataset(tmp_path, "train")) == 2


@pytest.mark.parametrize(
    "options", [("--seed", "1"), ("--size", "352x96"), ("--focal", "0.7"), ("--drive",)]
)
def test_frames_of_other_scenes_are_not_mixed(tmp_path, capsys, options):
    prepare(tmp_path)
    (tmp_path / "town.txt").write_text("--seed 0 --size 320x96\n")
    assert town(tmp_path, "--frames", "1", *options) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"km3d town: {tmp_path}: has frames of '--seed 0 --size 320x96', exp")
    assert f"{' '.join(options)}" in error
    assert error.endswith(" or another folder\n")
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("part", ["training", "image_2", "ImageSets"])
def test_other_data_sets_are_not_touched(tmp_path, capsys, part):
    (tmp_path / part).mkdir()
    assert town(tmp_path, "--frames", "1") == 1
    message = f"{tmp_path}: has files that are not of km3d town, expected a new folder\n"
    assert capsys.readouterr().err == f"km3d town: {message}"
    assert [path.name for path in tmp_path.iterdir()] == [part]


def test_no_bar_where_there_is_no_terminal(tmp_path, capsys):
    town(tmp_path, "--frames", "1")
    assert capsys.readouterr().err == ""


def test_a_drive_is_a_kitti_data_set_too(tmp_path):
    assert town(tmp_path, "--frames", "2", "--drive") == 0
    frames = KittiDataset(tmp_path, "train")
    assert len(frames) == 2
    assert any(item.class_name == "Car" for item in frames[1].objects)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--frames", "0"), ("--size", "1280"), ("--focal", "9"), ("--seed", "-1")],
)
def test_wrong_usage_exits_with_2_and_says_what_was_expected(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        town(tmp_path, "--frames", "1", option, value)
    assert stop.value.code == 2
    assert repr(value) in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line_of_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert town(tmp_path / "file", "--frames", "1") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("km3d town: ")
    assert str(tmp_path / "file") in line


def test_tilted_and_bent_cameras_have_calibrations_of_their_own(tmp_path):
    assert town(tmp_path, "--frames", "2", "--seed", "5", "--tilt", "0.2", "--lenses") == 0
    assert (tmp_path / "town.txt").read_text() == "--seed 5 --size 320x96 --tilt 0.2 --lenses\n"
    frames = KittiDataset(tmp_path, "train")
    scene = sample_scene(5, 1)
    (truth,) = take(scene, sample_camera(5, 1, 320, 96, scene.view.focal, 0.2, True))
    frame = frames[1]
    assert frame.camera.distortion_model == truth.camera.distortion_model
    np.testing.assert_allclose(frame.camera.rotation, truth.camera.level, atol=1e-12)
    np.testing.assert_allclose(frame.camera.distortion, truth.camera.distortion)
    assert [o.class_name for o in frame.objects] == [o.class_name for o in truth.objects]
    # The rays through the image lead to the labels, which are in the level frame.
    solid = [item for item in frame.objects if item.has_box3d]
    for item in solid:
        center = torch.tensor(item.center, dtype=torch.float64)
        into_camera = torch.from_numpy(truth.camera.level).T @ center
        np.testing.assert_allclose(
            frame.camera.project(center), truth.camera.project(into_camera), atol=0.05
        )


def test_drives_have_no_tilted_cameras(tmp_path, capsys):
    with pytest.raises(SystemExit):
        town(tmp_path, "--frames", "1", "--drive", "--lenses")
    assert "--tilt and --lenses are for stills" in capsys.readouterr().err
