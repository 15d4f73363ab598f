"""Messages of a damaged sqlite3 bag, read from the pages of the file one by one.

Where an upper page of a table's tree is lost, SQLite cannot reach what is below it, though a
message needs no more than its leaf page and its overflow pages. The layout of the pages is
described at https://sqlite.org/fileformat2.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = 100
_LEAF = 0x0D
_LEAF_HEADER = 8
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
"""Bytes of an integer by its type code; 8 and 9 stand for the values 0 and 1."""


class Row(NamedTuple):
    """A row of the table `messages`.

    data: None where some of its bytes are lost.
    offset: of the leaf page, in bytes.
    """

    number: int
    topic_id: int
    time: int
    data: bytes | None
    offset: int


def declared_size(path: Path) -> int:
    """How many bytes the file should have, as its own beginning says; 0 where that is lost."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    return _page_size(header) * int.from_bytes(header[28:32], "big")


def read_rows(path: Path, after: int) -> Iterator[Row]:
    """The rows with numbers above `after` of which the beginning is left, in their order."""
    with path.open("rb") as file:
        pages = _Pages(file.fileno())
        found = sorted(cell for cell in pages.cells() if cell[0] > after)
        previous = after
        for number, page, position in found:
            row = pages.row(page, position) if number != previous else None
            if row is not None:
                previous = number
                yield row


class _Pages:
    """The pages of an open file; those that are cut are as long as what is left of them."""

    def __init__(self, file: int) -> None:
        self._file = file
        header = os.pread(file, _HEADER, 0)
        self._size = _page_size(header)
        self._usable = self._size - (header[20] if len(header) > 20 else 0)
        self._count = -(-os.fstat(file).st_size // self._size)

    def cells(self) -> Iterator[tuple[int, int, int]]:
        """Row number, page and position of every row of the shape of a message."""
        for number in range(2, self._count + 1):
            page = self._page(number)
            if page[:1] != bytes([_LEAF]):
                continue
            cells = int.from_bytes(page[3:5], "big")
            pointers = page[_LEAF_HEADER : _LEAF_HEADER + 2 * cells]
            for i in range(0, len(pointers) - 1, 2):
                position = int.from_bytes(pointers[i : i + 2], "big")
                cell = _Cell.parse(page, position)
                if cell:
                    yield cell.number, number, position

    def row(self, number: int, position: int) -> Row | None:
        page = self._page(number)
        cell = _Cell.parse(page, position)
        topic_end = cell.start + cell.head + _INTEGER_SIZES[cell.codes[1]]
        time_end = topic_end + _INTEGER_SIZES[cell.codes[2]]
        if time_end > len(page):
            return None
        payload = self._payload(page, cell)
        return Row(
            cell.number,
            _integer(page[cell.start + cell.head : topic_end], cell.codes[1]),
            _integer(page[topic_end:time_end], cell.codes[2]),
            None if payload is None else payload[time_end - cell.start :],
            (number - 1) * self._size,
        )

    def _payload(self, page: bytes, cell: _Cell) -> bytes | None:
        """All bytes of a row, or None where some are lost."""
        local = self._local(cell.size)
        end = cell.start + local
        parts = [page[cell.start : end]]
        missing, pointer = cell.size - local, page[end : end + 4]
        room = self._usable - 4
        if len(parts[0]) < local:
            return None
        while missing > 0:
            overflow = self._page(int.from_bytes(pointer, "big")) if len(pointer) == 4 else b""
            part = overflow[4 : 4 + min(missing, room)]
            if len(part) < min(missing, room):
                return None
            parts.append(part)
            missing, pointer = missing - len(part), overflow[:4]
        return b"".join(parts)

    def _local(self, size: int) -> int:
        """How many bytes of a row lie on the leaf itself."""
        if size <= self._usable - 35:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self._usable - 4)
        return local if local <= self._usable - 35 else least

    def _page(self, number: int) -> bytes:
        """A page, counted from 1; empty where there is none, or where it cannot be read."""
        if not 1 <= number <= self._count:
            return b""
        try:
            return os.pread(self._file, self._size, (number - 1) * self._size)
        except OSError:
            return b""


class _Cell(NamedTuple):
    """A row on a leaf page.

    size, start: of the record, from `start` on the page; its values begin `head` bytes later.
    codes: types of the values.
    """

    number: int
    size: int
    start: int
    head: int
    codes: tuple[int, ...]

    @classmethod
    def parse(cls, page: bytes, position: int) -> _Cell | None:
        """The cell at this position, if it is of the shape of a message and its head is left."""
        try:
            size, position = _varint(page, position)
            number, start = _varint(page, position)
            head, position = _varint(page, start)
            codes = []
            while position < start + head and len(codes) < 4:
                code, position = _varint(page, position)
                codes.append(code)
        except IndexError:
            return None
        # The columns id (NULL: it is the row number), topic_id, timestamp and data (a blob).
        whole = len(codes) == 4 and position == start + head and codes[0] == 0
        integers = whole and codes[1] in _INTEGER_SIZES and codes[2] in _INTEGER_SIZES
        if not integers or codes[3] < 12 or codes[3] % 2:
            return None
        values = sum(_INTEGER_SIZES[code] for code in codes[1:3]) + (codes[3] - 12) // 2
        return cls(number, size, start, head, tuple(codes)) if size == head + values else None


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else max(size, 512)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer, and the position after it."""
    value = 0
    for i in range(8):
        byte = data[position + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + i + 1
    return value << 8 | data[position + 8], position + 9


def _integer(data: bytes, code: int) -> int:
    return code - 8 if code in (8, 9) else int.from_bytes(data, "big", signed=True)
