"""Data values decoded by shape into columns (pure; OPC 10000-6, 5.2.2.17).

A record of one (mask, type) pair has a fixed layout when its value is a fixed-size scalar, so a table gives its
``struct.Struct``; a run of equal shapes is decoded by ``iter_unpack`` in one call, the mask and type bytes at stride
``size`` telling how long the run is. Everything else goes value by value through `variant`.
Picoseconds stand between the timestamps, as the standard has it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from edge_agent.drivers.opcua.variant import EPOCH, SCALARS, U32, DecodeError, nanoseconds, variant

_NO_VALUE: Final = -1
_VALUE, _STATUS, _SOURCE, _SOURCE_PICO, _SERVER, _SERVER_PICO = 0x01, 0x02, 0x04, 0x10, 0x08, 0x20
_FIRST_LOOK: Final = 16


class Columns:
    """Decoded values in columns of equal length, in the order of the wire.

    ``types`` are Variant encoding bytes (type id, 0x80 array, 0x40 matrix), 0 where there is no value; times are UTC ns,
    0 where there is none, otherwise exactly what was sent, however absurd.
    """

    __slots__ = ("handles", "server", "source", "status", "types", "values")

    def __init__(self) -> None:
        self.handles: list[int] = []
        self.types: list[int] = []
        self.values: list[object] = []
        self.status: list[int] = []
        self.source: list[int] = []
        self.server: list[int] = []

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.values)

    def extend(self, other: Columns) -> None:
        """Append the rows of ``other``."""
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))

    def append(
        self, handle: int, *, kind: int = 0, value: object = None, status: int = 0, source: int = 0, server: int = 0
    ) -> None:
        """Append one row."""
        for name, cell in zip(self.__slots__, (handle, server, source, status, kind, value), strict=True):
            getattr(self, name).append(cell)

    def copy_row(self, other: Columns, row: int) -> None:
        """Append row ``row`` of ``other``."""
        for name in self.__slots__:
            getattr(self, name).append(getattr(other, name)[row])

    def select(self, rows: Iterable[int]) -> Columns:
        """Return the given rows as columns of their own."""
        out, rows = Columns(), list(rows)
        for name in self.__slots__:
            column = getattr(self, name)
            setattr(out, name, [column[row] for row in rows])
        return out

    def copy(self) -> Columns:
        """Return all rows as columns of their own."""
        out = Columns()
        out.extend(self)
        return out


class _Shape(NamedTuple):
    layout: struct.Struct
    kind: int
    status: int
    source: int
    server: int


def _shape(lead: str, mask: int, kind: int) -> _Shape:
    """Lay out one record: [handle] mask [type value] [status] [source [pico]] [server [pico]]; -1 = not there."""
    code, at = f"<{lead}x", len(lead)
    if kind != _NO_VALUE:
        code, at = f"{code}x{SCALARS.get(kind, '')}", at + (kind in SCALARS)
    places = []
    for bit, field, pico in ((_STATUS, "I", 0), (_SOURCE, "q", _SOURCE_PICO), (_SERVER, "q", _SERVER_PICO)):
        places.append(at if mask & bit else -1)
        code, at = (code + field, at + 1) if mask & bit else (code, at)
        code += "2x" if mask & pico else ""
    return _Shape(struct.Struct(code), kind, *places)


def _table(lead: str) -> dict[tuple[int, int], _Shape]:
    # A picosecond field comes with its own bit, whether or not its timestamp is there.
    kinds = (0, *SCALARS)
    return {
        (mask, kind): _shape(lead, mask, kind)
        for mask in range(0x40)
        for kind in (kinds if mask & _VALUE else (_NO_VALUE,))
    }  # fmt: skip


_SHAPES: Final = {"I": _table("I"), "": _table("")}
_TAILS: Final = {mask: _shape("", mask, _NO_VALUE) for mask in range(0, 0x40, 2)}


def _run_length(body: bytes, at: int, size: int, most: int, two: bool) -> int:
    """Return how many records from ``at`` on have the mask byte (and type byte, if ``two``) of the first one."""
    look, first, second = _FIRST_LOOK, body[at : at + 1], body[at + 1 : at + 2]
    while True:
        reach = min(most, look)
        masks = body[at : at + reach * size : size]
        run = len(masks) - len(masks.lstrip(first))
        if two:
            kinds = body[at + 1 : at + 1 + run * size : size]
            run = len(kinds) - len(kinds.lstrip(second))
        if run < reach or reach == most:
            return run
        look *= 8


def _append_run(out: Columns, shape: _Shape, rows: Sequence[tuple[object, ...]], lead: bool) -> None:
    columns = list(zip(*rows, strict=True)) if rows and rows[0] else []
    count = len(rows)
    zeros = [0] * count
    if lead:
        out.handles.extend(columns[0])
    scalar = shape.kind in SCALARS
    out.types.extend([shape.kind] * count if scalar else zeros)
    out.values.extend(columns[int(lead)] if scalar else [None] * count)
    out.status.extend(columns[shape.status] if shape.status >= 0 else zeros)
    for place, times in ((shape.source, out.source), (shape.server, out.server)):
        times.extend(_all_nanoseconds(columns[place]) if place >= 0 else zeros)


def _all_nanoseconds(column: tuple[Any, ...]) -> list[int]:
    """Return `nanoseconds` of a column; servers give many rows of a message one and the same time."""
    if column.count(column[0]) == len(column):
        return [nanoseconds(column[0])] * len(column)
    return [(ticks - EPOCH) * 100 for ticks in column]


def _append_single(out: Columns, shape: _Shape, fields: tuple[Any, ...], lead: str) -> None:
    kind, status, source, server = shape[1:]
    if lead:
        out.handles.append(fields[0])
    scalar = kind in SCALARS
    out.types.append(kind if scalar else 0)
    out.values.append(fields[len(lead)] if scalar else None)
    out.status.append(fields[status] if status >= 0 else 0)
    out.source.append(nanoseconds(fields[source]) if source >= 0 else 0)
    out.server.append(nanoseconds(fields[server]) if server >= 0 else 0)


def _append_one(body: bytes, pos: int, mask: int, out: Columns) -> int:
    """Decode one record after its mask byte, which carries a value of no fixed size; returns the position after."""
    kind, value, pos = variant(body, pos)
    out.types.append(kind)
    out.values.append(value)
    tail = _TAILS[mask & 0x3E]
    # The tail's layout begins with a pad byte for the mask: step back over one byte that was read already.
    fields = tail.layout.unpack_from(body, pos - 1)
    out.status.append(fields[tail.status] if tail.status >= 0 else 0)
    out.source.append(nanoseconds(fields[tail.source]) if tail.source >= 0 else 0)
    out.server.append(nanoseconds(fields[tail.server]) if tail.server >= 0 else 0)
    return pos - 1 + tail.layout.size


def records(body: bytes, pos: int, count: int, lead: str, out: Columns) -> int:
    """Decode ``count`` data values, each led by a client handle where ``lead`` is "I"; returns the position after."""
    shapes, offset = _SHAPES[lead], 4 * len(lead)
    while count > 0:
        at = pos + offset
        mask = body[at]
        kind = body[at + 1] if mask & _VALUE else _NO_VALUE
        shape = shapes.get((mask & 0x3F, kind))
        if shape is None:
            if lead:
                out.handles.append(U32.unpack_from(body, pos)[0])
            pos = _append_one(body, at + 1, mask, out)
            count -= 1
            continue
        size = shape.layout.size
        if count == 1 or body[at + size : at + size + 2] != body[at : at + 2]:
            # The next record looks different: a run of one costs less by itself.
            _append_single(out, shape, shape.layout.unpack_from(body, pos), lead)
            pos, count = pos + size, count - 1
            continue
        run = _run_length(body, at, size, min(count, (len(body) - pos) // size), two=kind != _NO_VALUE)
        if run < 1:
            raise DecodeError(f"a value of {size} bytes announced at {pos}, {len(body) - pos} left")
        end = pos + run * size
        _append_run(out, shape, list(shape.layout.iter_unpack(body[pos:end])), bool(lead))
        pos, count = end, count - run
    return pos


def fixed_sizes(body: bytes, pos: int, count: int) -> list[int] | None:
    """Return how many bytes each of ``count`` data values has, None unless all of them are scalars of a fixed size."""
    shapes, out = _SHAPES[""], []
    for _ in range(count):
        mask = body[pos]
        shape = shapes.get((mask & 0x3F, body[pos + 1] if mask & _VALUE else _NO_VALUE))
        if shape is None:
            return None
        out.append(shape.layout.size)
        pos += shape.layout.size
    return out if pos <= len(body) else None


def one_record(body: bytes, pos: int, out: Columns) -> None:
    """Decode one data value of a fixed size."""
    mask = body[pos]
    shape = _SHAPES[""][mask & 0x3F, body[pos + 1] if mask & _VALUE else _NO_VALUE]
    _append_single(out, shape, shape.layout.unpack_from(body, pos), "")
