"""Two answers to one and the same Read compared as bytes: which of its values are not what they were (pure; OPC 10000-6, 5.2.2.17).

An answer whose values all have a fixed size is one long number; what two of them differ in, without the server's times, are a few bytes.
Whatever does not look like the answer before is for the decoder.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from edge_agent.drivers.opcua.shape import Columns, fixed_sizes, one_record
from edge_agent.drivers.opcua.variant import U32

_SERVER, _SERVER_PICO, _VALUE = 0x08, 0x20, 0x01
_FEW: Final = 4
"""One row in so many may have changed; where more do, decoding all of them at once costs less."""


class Glance:
    """The answer before: ``body`` with ``count`` values from position ``at`` on."""

    def __init__(self, body: bytes, at: int, starts: list[int], mask: int) -> None:
        self._results, self._starts, self._mask = body[at:], starts, mask
        self._number = int.from_bytes(self._results, "little")

    def changed(self, body: bytes, at: int) -> tuple[list[int], Columns] | None:
        """Return which values of the next answer are not the same, and decoded; None where that cannot be told or they are not few."""
        results, starts = body[at:], self._starts
        if len(results) != len(self._results):
            return None
        number = int.from_bytes(results, "little")
        other = (number ^ self._number) & self._mask
        rows = self._rows(other.to_bytes(len(results), "little")) if other else []
        if rows is None:
            return None
        out = Columns()
        for row in rows:
            start = starts[row]
            if row < 0 or row == len(starts) - 1 or results[start : start + 2] != self._results[start : start + 2]:
                return None  # another shape, or something before or behind the values
            one_record(results, start, out)
        self._results, self._number = results, number
        return rows, out

    def _rows(self, other: bytes) -> list[int] | None:
        """Return the rows in which there is something else than zeros, None where they are not few; -1 is what stands before them."""
        starts, rows, most = self._starts, list[int](), len(self._starts) // _FEW
        rest = other.lstrip(b"\0")
        while rest:
            rows.append(bisect_right(starts, len(other) - len(rest)) - 1)
            if len(rows) > most:
                return None
            behind = rows[-1] + 1
            rest = other[starts[behind] :].lstrip(b"\0") if behind < len(starts) else b""
        return rows


def glance(body: bytes, at: int, count: int) -> Glance | None:
    """Return what the next answer is compared with, None where the values have no fixed sizes; ``at`` is where their number stands."""
    if U32.unpack_from(body, at)[0] != count:
        return None
    sizes = fixed_sizes(body, at + 4, count)
    if sizes is None:
        return None
    starts, pieces, start = [], [b"\xff\xff\xff\xff"], 4
    for size in sizes:
        starts.append(start)
        mask = body[at + start]
        hidden = (8 if mask & _SERVER else 0) + (2 if mask & _SERVER_PICO else 0)
        pieces.append(b"\xff" * (size - hidden) + bytes(hidden))
        start += size
    starts.append(start)  # what stands behind the last one
    pieces.append(b"\xff" * (len(body) - at - start))
    return Glance(body, at, starts, int.from_bytes(b"".join(pieces), "little"))
