import pytest
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.inference.detector import Detector
from km3d_ros.network.checkpoint import read_spec


def arguments(tmp_path, *more):
    return [
        "train", "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"),
        "--out", str(tmp_path / "out.safetensors"), "--input-size", "128x64",
        "--steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu", *more,
    ]  # fmt: skip


def test_trained_weights_run_and_say_how_they_were_made(tmp_path):
    write_frames(tmp_path / "data", 2)
    assert main(arguments(tmp_path, "--seed", "7")) == 0
    spec = read_spec(tmp_path / "out.safetensors")
    assert spec.input_size == (64, 128)
    assert spec.training["seed"] == 7
    assert spec.training["images_seen"] == 2
    Detector.from_checkpoint(tmp_path / "out.safetensors", device="cpu")


def test_validation_figures_are_stored_with_the_weights(tmp_path, capsys):
    write_frames(tmp_path / "data", 2)
    assert main(arguments(tmp_path, "--validation", str(tmp_path / "data"))) == 0
    figures = read_spec(tmp_path / "out.safetensors").training["validation"]
    assert figures["frames"] == 2
    assert len(figures["ap_r40"]["Car"]["3d@0.5"]) == 3
    assert set(figures["median_relative_depth_error"]) == {"0-15", "15-30", "30-50"}
    assert '"frames": 2' in capsys.readouterr().out


def test_missing_folder_is_named(tmp_path, capsys):
    assert main(arguments(tmp_path)) == 1
    assert f"{tmp_path / 'data'}: no KITTI folder" in capsys.readouterr().err


def test_unreadable_image_is_named_in_one_line(tmp_path, capfd):
    write_frames(tmp_path / "data", 2)
    broken = tmp_path / "data" / "image_2" / "000001.png"
    broken.write_bytes(b"no image")
    assert main(arguments(tmp_path, "--workers", "1")) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line == f"km3d train: {broken}: not a readable image"


def test_damaged_state_is_named(tmp_path, capsys):
    write_frames(tmp_path / "data", 2)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"cut short")
    assert main(arguments(tmp_path)) == 1
    assert (
        f"{tmp_path / 'run' / 'state.pt'}: not a state of this training" in capsys.readouterr().err
    )


def test_input_size_must_fit_the_network(tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path, "--input-size", "100x64"))
    assert stop.value.code == 2
