"""ImageNet features for the published backbones, from files in their authors' layouts."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from km3d_ros.errors import InputError
from km3d_ros.network.checkpoint import fill, weights_of
from km3d_ros.network.published import PUBLISHED_BACKBONES, read_tensors

FEATURES = {
    "res_18": ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
    "dla_34": ("stem", "level0", "level1", "level2", "level3", "level4", "level5"),
}
"""Parts of the backbones that an image classifier has, too."""
LAYOUTS = {"res_18": "torchvision's resnet18", "dla_34": "the published dla34"}
_PREFIXES = ("module.", "model.", "base.", "backbone.")


def load_features(backbone: nn.Module, architecture: str, path: Path) -> None:
    """Set the features of a backbone; its up-sampling layers stay as they are.

    Args:
        backbone: of `architecture`. Its `pretrained` becomes the tuple of the parameters set.
        architecture: "res_18" or "dla_34".
        path: a .pth or .safetensors file with the tensors of a classifier: ResNet-18 by
            torchvision's names, DLA-34 by those of its authors. Its last layer is not used.

    Raises:
        InputError: another architecture, an unreadable file, or tensors that are missing, of
            another shape or not finite.
    """
    if architecture not in FEATURES:
        known = " and ".join(FEATURES)
        raise InputError(f"{path}: feature files are read for {known}, not for {architecture}")
    parts = FEATURES[architecture]
    weights = weights_of(backbone)
    wanted = {key: value for key, value in weights.items() if key.split(".")[0] in parts}
    expected = {_file_key(architecture, key): value for key, value in wanted.items()}
    given = {_without_prefixes(key): value for key, value in _read(path).items()}
    used = {key: value for key, value in given.items() if key in expected}
    fill(expected, used, path, LAYOUTS[architecture])
    backbone.pretrained = tuple(
        value for name, value in backbone.named_parameters() if name in wanted
    )


def _file_key(architecture: str, key: str) -> str:
    """The name in a classifier's file of one of our tensors."""
    part, _, rest = key.partition(".")
    published = PUBLISHED_BACKBONES[architecture][part].removeprefix("base.")
    return f"{published}.{rest}"


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_tensors(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from error


def _without_prefixes(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
