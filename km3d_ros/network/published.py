"""Published checkpoints, of KM3D-Net and of image classifiers, in their authors' layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.network import torch_file
from km3d_ros.network.checkpoint import fill, weights_of
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, INFERENCE_HEADS, ModelSpec

PUBLISHED_BACKBONES: dict[str, dict[str, str]] = {
    "dla_34": {
        "stem": "base.base_layer",
        "level0": "base.level0",
        "level1": "base.level1",
        "level2": "base.level2",
        "level3": "base.level3",
        "level4": "base.level4",
        "level5": "base.level5",
        "neck": "dla_up",
        "fuse": "ida_up",
        "offset": "conv_offset_mask",
        "norm": "actf.0",
    },
    "res_18": {
        "conv1": "conv1",
        "bn1": "bn1",
        "layer1": "layer1",
        "layer2": "layer2",
        "layer3": "layer3",
        "layer4": "layer4",
        "upsample": "deconv_layers",
    },
}
"""Per architecture: our name of each part of the backbone, and the published one.

Other parts of the backbone and the heads have the same names in both."""

PUBLISHED_UNUSED: dict[str, tuple[str, ...]] = {
    "dla_34": ("base.fc.", "base.level3.project.", "base.level4.project."),
}
"""Per architecture: prefixes of tensors in published files that no output depends on."""

STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Names under which checkpoints keep their tensors."""

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")


def convert(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
    """Read a published KM3D checkpoint (`.pth`).

    The file holds a state dict, alone or in a dictionary under one of `STATE_KEYS`. Prefixes of
    wrappers (`module.` of DataParallel, `_orig_mod.` of torch.compile) are removed; the
    auxiliary heads are taken along where the file has them.

    Returns the model in evaluation mode and its spec.

    Raises:
        InputError: missing or damaged file, or one that holds more than tensors and numbers;
            tensors that are missing, not known or of another shape are named, or counted where
            they are many.
    """
    published = read_tensors(path)
    architecture, called = _architecture(published)
    unused = PUBLISHED_UNUSED.get(architecture, ())
    published = {key: value for key, value in published.items() if not key.startswith(unused)}
    heads = tuple(
        name
        for name in HEAD_CHANNELS
        if name in INFERENCE_HEADS or f"{name}.0.weight" in published
    )
    spec = ModelSpec(
        architecture=architecture,
        heads=heads,
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


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published file by their names without the prefixes of wrappers.

    Raises:
        InputError: missing or damaged file, or one without tensors by name.
    """
    content = torch_file.read(path)
    if isinstance(content, dict):
        wrapped = (content[key] for key in STATE_KEYS if key in content)
        content = next((value for value in wrapped if isinstance(value, dict)), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise InputError(f"{path}: not a published checkpoint (no 'state_dict' of tensors)")
    return {_WRAPPERS.sub("", key): value for key, value in content.items()}
