"""Weights on disk, in our safetensors format.

A checkpoint is a safetensors file that contains the tensors of `KM3DNet` and, under the metadata
key `km3d`, its `ModelSpec` as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from km3d_ros.errors import InputError, check_downloaded, naming
from km3d_ros.network import metadata
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.whole_file import write_whole

_BATCH_COUNTER = "num_batches_tracked"
_MAX_HEADER = 2**20
"""Bytes of the header of a file, ten times that of dla_34. safetensors itself accepts 100 MB."""
_SHOWN = 3
"""Tensors of one kind that an error lists; the others are counted."""
_LONGEST_LINE = 200
_NO_SAFETENSORS = "not a safetensors file, or cut short"


def save(
    path: str | Path, model: KM3DNet, spec: ModelSpec, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint. If the writing fails, a former file stays as it was.

    dtype: the type that the weights are stored in; they are loaded as float32 in any case.

    Raises:
        InputError: the file cannot be written.
    """
    weights = weights_of(model).items()
    _write(path, {key: value.to("cpu", dtype).contiguous() for key, value in weights}, spec)


def rewrite(source: str | Path, target: str | Path, spec: ModelSpec) -> None:
    """Write a checkpoint with the weights of another one, as they are stored there.

    Raises:
        InputError: missing, damaged or foreign source, or a target that cannot be written.
    """
    read_spec(source)
    _write(target, _tensors(source), spec)


def _write(path: str | Path, tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
    write_whole(path, to_bytes(tensors, {metadata.KEY: metadata.to_json(spec)}))


def load(path: str | Path) -> tuple[KM3DNet, ModelSpec]:
    """Read a checkpoint: the model in evaluation mode, float32, on the CPU, and its spec.

    Raises:
        InputError: missing, damaged or foreign file; tensors that are not those of the spec.
    """
    spec = read_spec(path)
    model = KM3DNet(spec).eval()
    fill(weights_of(model), _tensors(path), path, spec.architecture)
    return model, spec


def read_spec(path: str | Path) -> ModelSpec:
    """Read the spec of a checkpoint, without its tensors.

    Raises:
        InputError: missing, damaged or foreign file, or a spec as `metadata.from_json` refuses it.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get(metadata.KEY)
    if text is None:
        raise InputError(f"{path}: not a km3d checkpoint (its metadata has no {metadata.KEY!r})")
    with naming(path):
        return metadata.from_json(text)


def fill(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], path: str | Path, fits: str
) -> None:
    """Copy the tensors of a file into those of a model.

    expected: the tensors of the model by the names that they have in the file.
    given: the tensors of the file. Batch counters are ignored.
    fits: what the file should fit, for the message.

    Raises:
        InputError: tensors that are missing, not known, of another shape, no numbers or not
            finite. The message names the first ones.
    """
    given = {key: value for key, value in given.items() if not key.endswith(_BATCH_COUNTER)}
    problems = _listed("missing", expected.keys() - given.keys())
    problems += _listed("not known", given.keys() - expected.keys())
    shared = expected.keys() & given.keys()
    shapes = {key: (tuple(given[key].shape), tuple(expected[key].shape)) for key in shared}
    problems += _listed(
        "wrong shape", (f"{key} {a} instead of {b}" for key, (a, b) in shapes.items() if a != b)
    )
    problems += _listed("no numbers", (key for key in shared if not _is_plain(given[key])))
    if problems:
        raise InputError(f"{path}: does not fit {fits}: {'; '.join(problems)}")
    for key, value in expected.items():
        if not value.copy_(given[key]).isfinite().all():
            raise InputError(f"{path}: {key} has values that are not finite")


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, of floating point numbers, and in memory."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta


def weights_of(model: nn.Module) -> dict[str, Tensor]:
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


def _tensors(path: str | Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: str | Path) -> Iterator[safe_open]:
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: {_NO_SAFETENSORS} ({_line(str(error))})") from error


def _check_header(path: str | Path) -> None:
    """Refuse a header that would take long to parse."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    check_downloaded(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise InputError(f"{path}: {_NO_SAFETENSORS} (a header of {length} bytes)")
