import pytest
import torch

from km3d_ros.cli import main
from km3d_ros.network import checkpoint
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec


def write_published(path):
    """A file in the published layout; returns the model that it was made of."""
    model = KM3DNet(ModelSpec("res_18")).eval()
    state = {}
    for key, value in model.state_dict().items():
        part = key.partition(".")[2]
        state[part.replace("upsample", "deconv_layers")] = value
    torch.save({"state_dict": state}, path)
    return model


def test_convert_makes_a_published_file_loadable(tmp_path, capsys):
    published = write_published(tmp_path / "model.pth")
    output = tmp_path / "new" / "model.safetensors"
    assert main(["convert", str(tmp_path / "model.pth"), str(output)]) == 0
    assert "res_18" in capsys.readouterr().out
    model, spec = checkpoint.load(output)
    assert spec.architecture == "res_18"
    for value, original in zip(model.parameters(), published.parameters(), strict=True):
        assert torch.equal(value, original)


def test_folder_as_output_is_refused_before_the_work(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["convert", "model.pth", str(tmp_path)])
    assert stop.value.code == 2
    assert f"{tmp_path} is a folder, expected a file to write" in capsys.readouterr().err


def test_convert_names_a_file_that_it_cannot_use(tmp_path, capsys):
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"PK\x03\x04 cut short")
    output = tmp_path / "out.safetensors"
    assert main(["convert", str(wrong), str(output)]) == 1
    error = capsys.readouterr().err
    assert f"{wrong}: damaged, or not a PyTorch file" in error
    assert error.count("\n") == 1
    assert not output.exists()
