"""Text columns of an Apache Arrow IPC stream, in plain Python: what HellaSwag's one file needs, and no more.

A stream is a row of messages: 0xFFFFFFFF, the metadata's length (int32), metadata (a FlatBuffer), body. The first is
the schema, the others are record batches whose bodies hold the columns' buffers one after the other.
Source of the layout: Arrow's format documents, Message.fbs and Schema.fbs.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flexnm_rtl.config import ConfigError

_SCHEMA, _BATCH = 1, 3
_TEXT, _LIST = 5, 12
# Buffers of a column by type: validity and values, for text and lists validity and offsets (text: and the bytes).
_BUFFERS = {2: 2, 3: 2, 6: 2, _TEXT: 3, _LIST: 2}


@dataclass(frozen=True)
class _Table:
    """A FlatBuffer table at ``position`` of ``data``; fields are found through its vtable, absent ones are None."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _slot(self, index: int) -> int | None:
        vtable = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        if 4 + 2 * index >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset: int = struct.unpack_from("<H", self.data, vtable + 4 + 2 * index)[0]
        return self.position + offset if offset else None

    def number(self, index: int, code: str) -> int:
        slot = self._slot(index)
        return 0 if slot is None else int(struct.unpack_from("<" + code, self.data, slot)[0])

    def reference(self, index: int) -> int | None:
        """Where the table, vector or string of a field is."""
        slot = self._slot(index)
        return None if slot is None else slot + int(struct.unpack_from("<I", self.data, slot)[0])

    def table(self, index: int) -> _Table:
        position = self.reference(index)
        if position is None:
            raise ValueError("a table is missing")
        return _Table(self.data, position)

    def tables(self, index: int) -> list[_Table]:
        start = self.reference(index)
        if start is None:
            return []
        places = [start + 4 + 4 * i for i in range(struct.unpack_from("<I", self.data, start)[0])]
        return [_Table(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]

    def structs(self, index: int, code: str) -> list[tuple[int, ...]]:
        start = self.reference(index)
        if start is None:
            return []
        count = struct.unpack_from("<I", self.data, start)[0]
        size = struct.calcsize("<" + code)
        return [struct.unpack_from("<" + code, self.data, start + 4 + size * i) for i in range(count)]

    def text(self, index: int) -> str:
        start = self.reference(index)
        if start is None:
            return ""
        length = struct.unpack_from("<I", self.data, start)[0]
        return self.data[start + 4 : start + 4 + length].decode()


def text_columns(data: bytes, name: str) -> dict[str, list[Any]]:
    """Columns of an Arrow IPC stream that hold text (str) or lists of text (list[str]); others are left out.

    data: the whole stream, uncompressed, without missing values. name: for messages.
    Raises ConfigError for anything else.
    """
    try:
        columns: dict[str, list[Any]] = {}
        fields: list[_Table] = []
        for kind, header, body in _messages(data):
            if kind == _SCHEMA:
                fields = header.tables(1)
            elif kind != _BATCH or header.reference(3) is not None:
                raise ValueError("a compressed or dictionary batch")
            else:
                for column, values in _batch(fields, header, body):
                    columns.setdefault(column, []).extend(values)
    except (struct.error, ValueError, IndexError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{name} is no Arrow stream of plain columns ({error}): delete it to get it anew") from None
    return columns


def _messages(data: bytes) -> Iterator[tuple[int, _Table, bytes]]:
    """(type of the header, header, body) of each message."""
    position = 0
    while position < len(data):
        marker, length = struct.unpack_from("<Ii", data, position)
        if marker != 0xFFFFFFFF:
            raise ValueError("no message where one should start")
        if length == 0:
            return
        start = position + 8 + length
        message = _Table.root(data[position + 8 : start])
        position = start + message.number(3, "q")
        yield message.number(1, "B"), message.table(2), data[start:position]


def _batch(fields: list[_Table], header: _Table, body: bytes) -> Iterator[tuple[str, list[Any]]]:
    nodes = iter(header.structs(1, "qq"))
    buffers = iter(body[offset : offset + length] for offset, length in header.structs(2, "qq"))
    for field in fields:
        values = _column(field, nodes, buffers)
        if values is not None:
            yield field.text(0), values


def _column(field: _Table, nodes: Iterator[tuple[int, ...]], buffers: Iterator[bytes]) -> list[Any] | None:
    """Values of the next column, whose nodes and buffers are taken off the iterators; None if it is no text."""
    kind = field.number(2, "B")
    count, missing = next(nodes)
    own = [next(buffers) for _ in range(_BUFFERS[kind])]
    children = [_column(child, nodes, buffers) for child in field.tables(5)]
    if missing:
        raise ValueError("missing values")
    if kind == _TEXT:
        bounds = struct.unpack_from(f"<{count + 1}i", own[1]) if count else (0,)
        return [own[2][a:b].decode() for a, b in itertools.pairwise(bounds)]
    if kind == _LIST and children[0] is not None:
        bounds = struct.unpack_from(f"<{count + 1}i", own[1]) if count else (0,)
        return [children[0][a:b] for a, b in itertools.pairwise(bounds)]
    return None
