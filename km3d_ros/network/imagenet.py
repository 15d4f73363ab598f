"""ImageNet features for the published backbones, from files in their authors' layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from km3d_ros.errors import InputError
from km3d_ros.network import torch_file
from km3d_ros.network.checkpoint import PUBLISHED_BACKBONES

FEATURES = {
    "res_18": ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
    "dla_34": ("stem", "level0", "level1", "level2", "level3", "level4", "level5"),
}
"""Parts of the backbones that an image classifier has, too."""
LAYOUTS = {"res_18": "torchvision's resnet18", "dla_34": "the published dla34"}
_PREFIXES = ("module.", "model.", "base.", "backbone.")
_COUNTER = "num_batches_tracked"
_SHOWN = 3


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
    given = _read(path)
    parts = FEATURES[architecture]
    wanted = {
        key: value
        for key, value in backbone.state_dict().items()
        if key.split(".")[0] in parts and not key.endswith(_COUNTER)
    }
    names = {key: _file_key(architecture, key) for key in wanted}
    problems = [
        f"{names[key]} {'missing' if found is None else f'of shape {tuple(found.shape)}'}"
        for key, value in wanted.items()
        if (found := given.get(names[key])) is None or found.shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"{path}: not the weights of {LAYOUTS[architecture]}: "
            f"{', '.join(problems[:_SHOWN])}{more}"
        )
    with torch.no_grad():
        for key, value in wanted.items():
            if not value.copy_(given[names[key]]).isfinite().all():
                raise InputError(f"{path}: {names[key]} has values that are not finite")
    backbone.pretrained = tuple(
        value for name, value in backbone.named_parameters() if name in wanted
    )


def _file_key(architecture: str, key: str) -> str:
    """The name in a classifier's file of one of our tensors."""
    part, _, rest = key.partition(".")
    published = PUBLISHED_BACKBONES[architecture][part].removeprefix("base.")
    return f"{published}.{rest}"


def _read(path: Path) -> Mapping[str, Tensor]:
    """The tensors by name, without the prefixes that wrappers add."""
    if path.suffix == ".safetensors":
        try:
            content = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from error
    else:
        content = torch_file.read(path)
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected tensors by name")
    return {
        _without_prefixes(str(key)): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }


def _without_prefixes(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
