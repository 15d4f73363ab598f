import pytest
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.data.kitti import write_calibration
from km3d_ros.network.checkpoint import read_spec


@pytest.fixture
def adapt(tmp_path, weights):
    write_frames(tmp_path / "data", 2)

    def run(*more):
        options = [
            "--data", tmp_path / "data", "--run", tmp_path / "run", "--weights", weights,
            "--out", tmp_path / "out.safetensors", "--steps", "1", "--batch-size", "2",
            "--unlabelled-batch-size", "1", "--workers", "0", "--device", "cpu", *more,
        ]  # fmt: skip
        return main(["adapt", *map(str, options)])

    return run


def test_weights_are_adapted_with_a_folder_of_images(adapt, tmp_path, weights):
    write_frames(tmp_path / "drive", 3)
    camera = tmp_path / "camera.txt"
    write_calibration(camera, [[150.0, 0, 120, 0], [0, 150, 60, 0], [0, 0, 1, 0]])
    assert adapt("--unlabelled", tmp_path / "drive" / "image_2", "--camera", camera) == 0
    spec = read_spec(tmp_path / "out.safetensors")
    assert spec.input_size == read_spec(weights).input_size
    assert (spec.training["frames"], spec.training["unlabelled_frames"]) == (2, 3)
    assert "consensus_position" in (tmp_path / "run" / "log.csv").read_text()


def test_source_that_is_missing_is_named(adapt, tmp_path, capsys):
    assert adapt("--unlabelled", tmp_path / "none") == 1
    assert capsys.readouterr().err == f"km3d adapt: {tmp_path / 'none'}: no such file or folder\n"


def test_unlabelled_images_are_asked_for(adapt, capsys):
    with pytest.raises(SystemExit) as stop:
        adapt()
    assert stop.value.code == 2
    assert "--unlabelled" in capsys.readouterr().err
