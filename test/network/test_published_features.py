"""Features of image classifiers, in the layouts that people have them in."""

import pytest
import torch
from safetensors.torch import save_file

from km3d_ros.errors import InputError
from km3d_ros.network.dla import DLA34
from km3d_ros.network.published import load_features
from km3d_ros.network.resnet import ResNet18

BACKBONES = {"res_18": ResNet18, "dla_34": DLA34}
UP_SAMPLING = {"res_18": ("upsample",), "dla_34": ("neck", "fuse")}


def classifier(architecture):
    """The tensors of a classifier's file, and the backbone that has its features."""
    torch.manual_seed(1)
    backbone = BACKBONES[architecture]()
    tensors = {}
    for name, value in backbone.state_dict().items():
        if name.startswith(UP_SAMPLING[architecture]):
            continue
        if value.is_floating_point():
            value.normal_().abs_()
        published = name.replace("stem.", "base_layer.") if architecture == "dla_34" else name
        tensors[published] = value
    tensors |= {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    if architecture == "dla_34":
        # Published, but used by nothing.
        tensors["level3.project.0.weight"] = torch.ones(128, 64, 1, 1)
    return tensors, backbone


def test_names_are_those_of_the_published_files():
    """torchvision.models.resnet18().state_dict(), and dla34-ba72cf86.pth of DLA's authors."""
    residual, _ = classifier("res_18")
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight"} < residual.keys()
    assert {"layer2.0.downsample.0.weight", "layer4.1.bn2.bias"} < residual.keys()
    assert len(residual) == 122
    tree, _ = classifier("dla_34")
    assert {"base_layer.0.weight", "level0.0.weight", "level2.tree1.conv1.weight"} < tree.keys()
    assert {"level3.tree2.root.conv.weight", "level5.project.0.weight"} < tree.keys()


@pytest.mark.parametrize("architecture", BACKBONES)
@pytest.mark.parametrize("form", ["plain", "wrapped", "safetensors"])
def test_features_are_taken_and_the_rest_stays(tmp_path, architecture, form):
    tensors, expected = classifier(architecture)
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    elif form == "plain":
        torch.save(tensors, path)
    else:
        torch.save({"state_dict": {f"module.{key}": v for key, v in tensors.items()}}, path)
    torch.manual_seed(2)
    backbone, untouched = BACKBONES[architecture](), None
    untouched = {name: value.clone() for name, value in backbone.state_dict().items()}
    load_features(backbone, architecture, path)
    for name, value in backbone.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        same_as = (
            untouched if name.startswith(UP_SAMPLING[architecture]) else expected.state_dict()
        )
        assert torch.equal(value, same_as[name]), name
    names = {id(value): name for name, value in backbone.named_parameters()}
    loaded = {names[id(value)] for value in backbone.pretrained}
    assert loaded == {
        name
        for name, _ in backbone.named_parameters()
        if not name.startswith(UP_SAMPLING[architecture])
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bn1.weight"), "fit torchvision's resnet18: missing: bn1.weight"),
        (
            lambda t: t.update({"conv1.weight": torch.ones(64, 1, 7, 7)}),
            r"wrong shape: conv1.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)",
        ),
        (lambda t: t["bn1.bias"].fill_(torch.nan), "bn1.bias has values that are not finite"),
        (lambda t: t.clear(), "missing: bn1.bias, bn1.running_mean, bn1.running_var, and 97 more"),
    ],
)
def test_file_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path, change, message):
    tensors, _ = classifier("res_18")
    change(tensors)
    path = tmp_path / "some.pth"
    torch.save(tensors, path)
    with pytest.raises(InputError, match=message) as refused:
        load_features(ResNet18(), "res_18", path)
    assert str(refused.value).startswith(f"{path}: ")


def test_deeper_resnet_is_refused(tmp_path):
    tensors, _ = classifier("res_18")
    tensors["layer1.0.conv1.weight"] = torch.ones(64, 64, 1, 1)
    torch.save(tensors, tmp_path / "resnet50.pth")
    with pytest.raises(InputError, match="does not fit torchvision's resnet18"):
        load_features(ResNet18(), "res_18", tmp_path / "resnet50.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: "):
        load_features(ResNet18(), "res_18", tmp_path / "x.pth")


def test_lite_has_features_of_its_own(tmp_path):
    with pytest.raises(InputError, match="read for res_18 and dla_34, not for lite"):
        load_features(ResNet18(), "lite", tmp_path / "x.pth")
