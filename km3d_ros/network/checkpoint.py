"""Weights on disk: our safetensors format, and published checkpoints in (design, section 4).

A checkpoint is a safetensors file with everything that is needed to run it: the tensors of
`KM3DNet` and, under the metadata key `km3d`, its `ModelSpec` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from km3d_ros.errors import InputError
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, INFERENCE_HEADS, ModelSpec, Noise

METADATA_KEY = "km3d"

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

What is not listed has the same name in both, and so have the heads."""

PUBLISHED_UNUSED: dict[str, tuple[str, ...]] = {
    "dla_34": ("base.fc.", "base.level3.project.", "base.level4.project."),
}
"""Per architecture: what published files hold, but no output depends on; how its names start."""

_BATCH_COUNTER = "num_batches_tracked"
_SHOWN = 3
"""Misfits of one kind that an error names; the others are counted."""


def save(
    path: str | Path, model: KM3DNet, spec: ModelSpec, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint; the file appears at once or, if the writing fails, not at all.

    dtype: the type that the weights are stored in; they are loaded as float32 in any case.

    Raises:
        InputError: the file cannot be written.
    """
    _write(
        Path(path),
        {key: value.to("cpu", dtype).contiguous() for key, value in _weights(model).items()},
        spec,
    )


def rewrite(source: str | Path, target: str | Path, spec: ModelSpec) -> None:
    """Write a checkpoint with the weights of another one, as they are stored there.

    Raises:
        InputError: missing, damaged or foreign source, or a target that cannot be written.
    """
    read_spec(source)
    with _opened(source) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    _write(Path(target), tensors, spec)


def _write(path: Path, tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
    unfinished = path.with_name(path.name + ".part")
    try:
        save_file(tensors, unfinished, metadata={METADATA_KEY: json.dumps(asdict(spec))})
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written ({reason})") from error


def load(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
    """Read a checkpoint: the model in evaluation mode, float32, on the CPU, and its spec.

    Raises:
        InputError: missing, damaged or foreign file; tensors that are not those of the spec.
    """
    spec = read_spec(path)
    with _opened(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return _fill(spec, tensors, path), spec


def read_spec(path: str | Path) -> ModelSpec:
    """Read what a checkpoint says about itself, without its tensors.

    Raises:
        InputError: missing, damaged or foreign file, an architecture or a head that is not known
            here, a head that detections need and that is not there, or an impossible input size.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise InputError(f"{path}: not a km3d checkpoint (its metadata has no {METADATA_KEY!r})")
    try:
        values = json.loads(text)
        spec = ModelSpec(**{key: _tuples(value) for key, value in values.items()})
        spec = replace(
            spec,
            heads=tuple(spec.heads),
            input_size=tuple(spec.input_size),
            noise=_noise(values["noise"]),
            training=values["training"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged km3d metadata ({error})") from error
    _check(spec, path)
    return spec


def _noise(values: Mapping[str, float]) -> Noise:
    """The noise of a checkpoint, or the default one where it has noise of another kind."""
    names = {field.name for field in fields(Noise)}
    return Noise(**values) if values.keys() == names else Noise()


def _check(spec: ModelSpec, path: str | Path) -> None:
    if spec.architecture not in BACKBONES:
        known = ", ".join(sorted(BACKBONES))
        raise InputError(f"{path}: architecture {spec.architecture!r} is not one of {known}")
    for name in spec.heads:
        if name not in HEAD_CHANNELS:
            raise InputError(f"{path}: head {name!r} is not one of {', '.join(HEAD_CHANNELS)}")
    for name in INFERENCE_HEADS:
        if name not in spec.heads:
            raise InputError(f"{path}: there is no head {name!r}, which detections are made of")
    size = spec.input_size
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 and n % 32 == 0 for n in size):
        raise InputError(
            f"{path}: input size {size} is not a height and a width, positive multiples of 32"
        )


def convert_published(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
    """Read a published KM3D checkpoint (`.pth`).

    The file is a dictionary with `state_dict`, whose keys may start with `module.`; the
    auxiliary heads are taken along where it has them.

    Returns the model in evaluation mode and its spec.

    Raises:
        InputError: missing or damaged file, or one that holds more than tensors and numbers;
            tensors that are missing, not known or of another shape are named, or counted where
            they are many.
    """
    published = {
        key.removeprefix("module."): value for key, value in _read_state_dict(path).items()
    }
    architecture = _published_architecture(published)
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
    return _fill(spec, published, path, _published_key), spec


def _published_key(architecture: str, key: str) -> str:
    """The name in a published file of one of our tensors."""
    group, *parts = key.split(".")
    names = PUBLISHED_BACKBONES[architecture] if group == "backbone" else {}
    return ".".join(names.get(part, part) for part in parts)


def _published_architecture(published: Mapping[str, Tensor]) -> str:
    """The architecture that shares most part names with the file."""
    parts = {key.partition(".")[0] for key in published}

    def shared(architecture: str) -> int:
        names = PUBLISHED_BACKBONES[architecture].values()
        return len(parts.intersection(name.partition(".")[0] for name in names))

    return max(PUBLISHED_BACKBONES, key=shared)


def _read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    _require_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise InputError(f"{path}: damaged, or not a PyTorch file of plain tensors") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: not a published checkpoint (no 'state_dict' of tensors)")
    return state


def _fill(
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    path: str | Path,
    file_key: Callable[[str, str], str] = lambda _, key: key,
) -> KM3DNet:
    """A model of this spec with these weights, or an error that names the misfits.

    file_key: gives the name in `tensors` of one of our tensors, by architecture.
    """
    model = KM3DNet(spec).eval()
    expected = {file_key(spec.architecture, key): value for key, value in _weights(model).items()}
    given = {key: value for key, value in tensors.items() if not key.endswith(_BATCH_COUNTER)}
    problems = _listed("missing", expected.keys() - given.keys())
    problems += _listed("not known", given.keys() - expected.keys())
    problems += _listed(
        "wrong shape",
        (
            f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in given and given[key].shape != value.shape
        ),
    )
    if problems:
        raise InputError(f"{path}: does not fit {spec.architecture}: {'; '.join(problems)}")
    for key, value in expected.items():
        value.copy_(given[key])
    return model


def _weights(model: KM3DNet) -> dict[str, Tensor]:
    """What is stored: all but the batch counters, which are of no use to inference."""
    state = model.state_dict()
    return {key: value for key, value in state.items() if not key.endswith(_BATCH_COUNTER)}


def _listed(what: str, tensors: Iterable[str]) -> list[str]:
    names = sorted(tensors)
    more = len(names) - _SHOWN
    shown = [*names[:_SHOWN], f"and {more} more"] if more > 0 else names
    return [f"{what}: {', '.join(shown)}"] if names else []


@contextmanager
def _opened(path: str | Path) -> Iterator[safe_open]:
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a safetensors file, or cut short ({error})") from error


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that a spec is made of."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
