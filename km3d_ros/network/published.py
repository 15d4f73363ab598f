"""Published checkpoints, of KM3D-Net and of image classifiers, in their authors' layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from km3d_ros.errors import InputError
from km3d_ros.network import torch_file
from km3d_ros.network.checkpoint import fill, weights_of
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, INFERENCE_HEADS, ModelSpec

PUBLISHED_BACKBONES: dict[str, dict[str, str]] = {
    "dla_34": {
        "stem": "base.base_layer",
        **{f"level{i}": f"base.level{i}" for i in range(6)},
        "neck": "dla_up",
        "fuse": "ida_up",
        "offset": "conv_offset_mask",
        "norm": "actf.0",
    },
    "res_18": {
        **{name: name for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")},
        "upsample": "deconv_layers",
    },
}
"""Per architecture: our name of each part of the backbone, and the published one.

Other parts of the backbone and the heads have the same names in both."""

PUBLISHED_UNUSED = {"dla_34": ("base.fc.", "base.level3.project.", "base.level4.project.")}
"""Per architecture: prefixes of tensors in published files that no output depends on."""

CLASSIFIERS = {"res_18": "torchvision's resnet18", "dla_34": "the published dla34"}
"""Per architecture: the image classifier with the same features."""
UP_SAMPLING = ("neck", "fuse", "upsample")
"""Parts of the backbones that a classifier does not have."""

STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Names under which checkpoints keep their tensors."""

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
"""Prefixes of DataParallel and torch.compile."""
_PARTS_OF_MODELS = re.compile(r"^(module\.)?(model\.)?(base\.)?(backbone\.)?")


def convert(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
    """Read a published KM3D checkpoint (`.pth`), with the auxiliary heads that it has.

    Returns the model in evaluation mode and its spec.

    Raises:
        InputError: as of `torch_file.read` and `checkpoint.fill`.
    """
    published = _read(Path(path))
    architecture, called = _architecture(published)
    unused = PUBLISHED_UNUSED.get(architecture, ())
    published = {key: value for key, value in published.items() if not key.startswith(unused)}
    found = {name for name in HEAD_CHANNELS if f"{name}.0.weight" in published}
    spec = ModelSpec(
        architecture=architecture,
        heads=tuple(name for name in HEAD_CHANNELS if name in found.union(INFERENCE_HEADS)),
        head_width=BACKBONES[architecture].head_width,
        training={"source": Path(path).name},
    )
    model = KM3DNet(spec).eval()
    expected = {_key(architecture, key): value for key, value in weights_of(model).items()}
    fill(expected, published, path, called)
    return model, spec


def _key(architecture: str, key: str) -> str:
    """The name in a published file of one of our tensors."""
    group, *parts = key.split(".")
    names = PUBLISHED_BACKBONES[architecture] if group == "backbone" else {}
    return ".".join(names.get(part, part) for part in parts)


def _architecture(published: Mapping[str, Tensor]) -> tuple[str, str]:
    """The architecture that shares most part names with the file, and what errors call it.

    A file that shares less than half of them is none of the architectures, which errors list.
    """
    parts = {key.partition(".")[0] for key in published}

    def shared(architecture: str) -> float:
        names = {name.partition(".")[0] for name in PUBLISHED_BACKBONES[architecture].values()}
        return len(parts & names) / len(names)

    best = max(PUBLISHED_BACKBONES, key=shared)
    known = ", ".join(PUBLISHED_BACKBONES)
    return best, best if shared(best) >= 0.5 else f"any of {known} (compared with {best})"


def load_features(backbone: nn.Module, architecture: str, path: Path) -> None:
    """Set the ImageNet features of a backbone; its up-sampling layers stay as they are.

    backbone: of `architecture`. Its `pretrained` becomes the tuple of the parameters set.
    architecture: "res_18" or "dla_34".
    path: a .pth or .safetensors file with the tensors of a classifier: ResNet-18 by torchvision's
        names, DLA-34 by those of its authors. Its last layer is not used.

    Raises:
        InputError: another architecture, or as of `torch_file.read` and `checkpoint.fill`.
    """
    if architecture not in CLASSIFIERS:
        known = " and ".join(CLASSIFIERS)
        raise InputError(f"{path}: feature files are read for {known}, not for {architecture}")
    names = PUBLISHED_BACKBONES[architecture]
    wanted, expected = set(), {}
    for key, value in weights_of(backbone).items():
        part, _, rest = key.partition(".")
        if part not in UP_SAMPLING:
            wanted.add(key)
            expected[f"{names[part].removeprefix('base.')}.{rest}"] = value
    given = {_PARTS_OF_MODELS.sub("", key): value for key, value in _read(path).items()}
    used = {key: value for key, value in given.items() if key in expected}
    fill(expected, used, path, CLASSIFIERS[architecture])
    backbone.pretrained = tuple(
        value for name, value in backbone.named_parameters() if name in wanted
    )


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names without the prefixes of wrappers.

    A .pth file contains a state dict, alone or in a dictionary under one of `STATE_KEYS`.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from error
    content = torch_file.read(path)
    if isinstance(content, dict):
        wrapped = (content[key] for key in STATE_KEYS if key in content)
        content = next((value for value in wrapped if isinstance(value, dict)), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise InputError(f"{path}: not a published checkpoint (no 'state_dict' of tensors)")
    return {_WRAPPERS.sub("", key): value for key, value in content.items()}
