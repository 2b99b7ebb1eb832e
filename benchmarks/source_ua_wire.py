"""OPC UA Binary as the benchmark's source needs it: a cursor over requests, and blocks of samples that are encoded once and patched (OPC 10000-6, 5.2)."""

from __future__ import annotations

import struct
import time
from typing import Any, Final

EPOCH: Final = 116_444_736_000_000_000
"""1970 in ticks of 100 ns since 1601."""
INT64, DOUBLE = 8, 11
FLOOR: Final = 1 << 52
"""A double of 2^52 and more has its whole part in the low bytes of its mantissa: counted on like an integer."""

_SIZE: Final = 26
_GROUP: Final = 100
_APART: Final = 1000
_MASK: Final = 0x0D  # value, source time, server time
_RUNS: Final = [bytes([byte]) * _GROUP for byte in range(256)]


def ticks(ns: int) -> int:
    """Return the DateTime of a UTC time in ns."""
    return ns // 100 + EPOCH


def u32(*values: int) -> bytes:
    """Encode numbers one after another."""
    return struct.pack(f"<{len(values)}I", *values)


def octets(raw: bytes | None) -> bytes:
    """Encode a ByteString."""
    return struct.pack("<i", -1) if raw is None else struct.pack("<i", len(raw)) + raw


def response(number: int, handle: int, result: int = 0) -> bytes:
    """Encode the type id and the ResponseHeader of a response."""
    return struct.pack("<BBHqIIBiBBB", 1, 0, number, ticks(time.time_ns()), handle, result, 0, -1, 0, 0, 0)


class Cursor:
    """Reads a request from front to back."""

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data, self.pos = data, pos

    def take(self, layout: str) -> Any:
        """Return the next value of a fixed layout."""
        (value,) = struct.unpack_from(layout, self.data, self.pos)
        self.pos += struct.calcsize(layout)
        return value

    def octets(self) -> bytes:
        """Return the next ByteString; null and empty are the same here."""
        size = max(self.take("<i"), 0)
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def node(self) -> tuple[int, int | str]:
        """Return the next NodeId: namespace index and identifier."""
        kind = self.take("<B")
        if kind == 0:
            return 0, self.take("<B")
        if kind == 1:
            return self.take("<B"), self.take("<H")
        space = self.take("<H")
        return space, self.take("<I") if kind == 2 else self.octets().decode(errors="replace")

    def header(self) -> tuple[int, int | str, int]:
        """Read type id and RequestHeader; return the service, the session's token and the request's handle."""
        service, token = int(self.node()[1]), self.node()[1]
        self.pos += 8
        handle = self.take("<I")
        self.pos += 4
        self.octets()
        self.pos += 4
        self.node()
        if self.take("<B"):
            self.octets()
        return service, token, handle


def number_of(tag: str) -> tuple[int, int]:
    """Return type and number of a tag by its name: ``i12`` counts as Int64, ``f12`` as Double."""
    return (INT64 if tag[0] == "i" else DOUBLE), int(tag[1:])


def counted(kind: int, number: int, count: int) -> bytes:
    """Return the value of tag ``number`` at its ``count``-th sample: the number above, the count in the low four bytes."""
    whole = number << 32 | count
    return struct.pack("<q", whole) if kind == INT64 else struct.pack("<d", FLOOR + whole)


class Block:
    """DataValues of some tags, encoded once; with ``handles`` each has its client handle in front, as in a notification.

    Patching is a few strided copies for every hundred rows, so that a source costs far less than whoever reads it.
    """

    def __init__(self, tags: list[str], handles: list[int] | None, time_: int, count: int = 0) -> None:
        rows = []
        for place, tag in enumerate(tags):
            kind, number = number_of(tag)
            front = b"" if handles is None else u32(handles[place])
            rows.append(front + bytes([_MASK, kind]) + counted(kind, number, count) + struct.pack("<qq", time_, time_))
        self.data = bytearray(b"".join(rows))
        self._front = 0 if handles is None else 4
        self._size, self.rows = _SIZE + self._front, len(tags)
        self._count = 0

    def patch(self, count: int, ns: int, *, first: int = 0, step: int = 1) -> None:
        """Let every ``step``-th row from ``first`` on have the running number ``count``, sampled up to ``ns``: every hundred rows 0.1 ms apart.

        All rows get the server's time of now.
        """
        groups = range(first, self.rows, step * _GROUP)
        for back, row in enumerate(reversed(groups)):
            stamp = struct.pack("<q", ticks(ns) - back * _APART)
            self._column(row, step, self._front + 10, stamp)
            self._column(row, step, self._front + 18, stamp)
        number = count.to_bytes(4, "little")
        for row in groups:
            self._column(row, step, self._front + 2, number)
        if step > 1:
            for row in range(0, self.rows, _GROUP):
                self._column(row, 1, self._front + 18, struct.pack("<q", ticks(ns)))

    def _column(self, row: int, step: int, offset: int, raw: bytes) -> None:
        size = self._size * step
        start = row * self._size + offset
        stop = min(start + size * _GROUP, len(self.data) + offset)
        stop = min(stop, (self.rows - 1) * self._size + offset + 1)
        for place, byte in enumerate(raw):
            begin, end = start + place, stop + place
            many = len(range(begin, end, size))
            self.data[begin:end:size] = _RUNS[byte] if many == _GROUP else _RUNS[byte][:many]
