"""The specification in an exported graph, read without the package onnx.

An ONNX file is a ModelProto of Protocol Buffers (onnx.proto). Its field 7 is the graph, whose
fields 11 and 12 are inputs and outputs. Its field 14 is metadata: pairs of a key (1) and a value
(2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from km3d_ros.errors import InputError
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.inference.options import GRM
from km3d_ros.network import metadata
from km3d_ros.network.spec import ModelSpec

_GRAPH, _METADATA, _INPUT, _OUTPUT, _NAME, _KEY, _VALUE = 7, 14, 11, 12, 1, 1, 2
_FIXED_SIZES = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2


def read_spec(graph: bytes, name: str) -> ModelSpec:
    """Read the specification in an exported graph.

    name: of the graph, for error messages.

    Raises:
        InputError: not an ONNX graph of this package.
    """
    try:
        parts = list(_fields(memoryview(graph)))
        entries = [dict(_fields(value)) for number, value in parts if number == _METADATA]
        stored = {bytes(entry[_KEY]).decode(): entry[_VALUE] for entry in entries}
        names: dict[int, list[str]] = {_INPUT: [], _OUTPUT: []}
        for number, value in (f for kind, v in parts if kind == _GRAPH for f in _fields(v)):
            if number in names:
                names[number].append(bytes(dict(_fields(value))[_NAME]).decode())
        text = bytes(stored.get(metadata.KEY, b"")).decode()
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: not an ONNX file, or cut short") from error
    if not text:
        raise InputError(f"{name}: not a graph of km3d export (no {metadata.KEY!r} metadata)")
    try:
        spec = metadata.from_json(text)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    inputs = {field.name for field in fields(GraphInputs)}
    if set(names[_INPUT]) != inputs or tuple(names[_OUTPUT]) != GRM:
        raise InputError(
            f"{name}: not the inputs and outputs of a graph of this version of km3d export"
        )
    return spec


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Numbers and values of the fields of a message: bytes, or integers (not used here)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == _BYTES else (_FIXED_SIZES[kind], at)
            if at + size > len(message):
                raise ValueError("cut short")
            value, at = message[at : at + size], at + size
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and where the next field begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("an integer of more than 64 bits")
