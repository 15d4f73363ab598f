"""Weights on disk: our safetensors format, and the conversion of published checkpoints.

A checkpoint is a safetensors file that contains the tensors of `KM3DNet` and, under the metadata
key `km3d`, its `ModelSpec` as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from km3d_ros.errors import InputError, check_downloaded
from km3d_ros.network import metadata, torch_file
from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, INFERENCE_HEADS, ModelSpec
from km3d_ros.whole_file import write_whole

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

Other parts of the backbone and the heads have the same names in both."""

PUBLISHED_UNUSED: dict[str, tuple[str, ...]] = {
    "dla_34": ("base.fc.", "base.level3.project.", "base.level4.project."),
}
"""Per architecture: prefixes of tensors in published files that no output depends on."""

STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Names under which checkpoints keep their tensors."""

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
_BATCH_COUNTER = "num_batches_tracked"
_MAX_HEADER = 2**20
"""Bytes of the header of a file, ten times that of dla_34. safetensors itself accepts 100 MB."""
_SHOWN = 3
"""Tensors of one kind that an error lists; the others are counted."""
_LONGEST_LINE = 200


def save(
    path: str | Path, model: KM3DNet, spec: ModelSpec, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint. If the writing fails, a former file stays as it was.

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
    write_whole(path, to_bytes(tensors, {METADATA_KEY: metadata.to_json(spec)}))


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
    """Read the spec of a checkpoint, without its tensors.

    Raises:
        InputError: missing, damaged or foreign file, or a spec as `metadata.from_json` refuses it.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise InputError(f"{path}: not a km3d checkpoint (its metadata has no {METADATA_KEY!r})")
    try:
        return metadata.from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def convert_published(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
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
    published = _read_state_dict(path)
    architecture, called = _published_architecture(published)
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
    return _fill(spec, published, path, _published_key, called), spec


def _published_key(architecture: str, key: str) -> str:
    """The name in a published file of one of our tensors."""
    group, *parts = key.split(".")
    names = PUBLISHED_BACKBONES[architecture] if group == "backbone" else {}
    return ".".join(names.get(part, part) for part in parts)


def _published_architecture(published: Mapping[str, Tensor]) -> tuple[str, str]:
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


def _read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    """The tensors of a published file by their names without the prefixes of wrappers."""
    content = torch_file.read(path)
    if isinstance(content, dict):
        wrapped = (content[key] for key in STATE_KEYS if key in content)
        content = next((value for value in wrapped if isinstance(value, dict)), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise InputError(f"{path}: not a published checkpoint (no 'state_dict' of tensors)")
    return {_WRAPPERS.sub("", key): value for key, value in content.items()}


def _fill(
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    path: str | Path,
    file_key: Callable[[str, str], str] = lambda _, key: key,
    called: str | None = None,
) -> KM3DNet:
    """A model of this spec with these weights, or an error that names the misfits.

    file_key: gives the name in `tensors` of one of our tensors, by architecture.
    called: what errors call the architecture, where not by its name.
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
    shared = expected.keys() & given.keys()
    problems += _listed("no numbers", (key for key in shared if not _is_plain(given[key])))
    if problems:
        fits = called or spec.architecture
        raise InputError(f"{path}: does not fit {fits}: {'; '.join(problems)}")
    for key, value in expected.items():
        if not value.copy_(given[key]).isfinite().all():
            raise InputError(f"{path}: {key} has values that are not finite")
    return model


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, of floating point numbers, and in memory."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta


def _weights(model: KM3DNet) -> dict[str, Tensor]:
    """The tensors that are stored: all but the batch counters, which inference does not use."""
    state = model.state_dict()
    return {key: value for key, value in state.items() if not key.endswith(_BATCH_COUNTER)}


def _listed(what: str, tensors: Iterable[str]) -> list[str]:
    names = sorted(tensors)
    shown = [_line(name) for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f"and {len(names) - _SHOWN} more")
    return [f"{what}: {', '.join(shown)}"] if names else []


def _line(text: str) -> str:
    """Text from a file as one short line."""
    line = repr(text)[1:-1]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


@contextmanager
def _opened(path: str | Path) -> Iterator[safe_open]:
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{path}: not a safetensors file, or cut short ({_line(str(error))})"
        ) from error


def _check_header(path: str | Path) -> None:
    """Refuse a header that would take long to parse."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    check_downloaded(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise InputError(
            f"{path}: not a safetensors file, or cut short (a header of {length} bytes)"
        )
