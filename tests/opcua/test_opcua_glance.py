"""Answers compared as bytes find what comparing decoded columns finds, or nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.drivers.opcua.glance import glance
from edge_agent.drivers.opcua.shape import Columns, records

Row = tuple[int, int, int, int, int]
"""Type, value, status, source time, server time."""
LAYOUTS = {1: "?", 6: "i", 8: "q", 11: "d"}
TAIL = struct.pack("<i", -1)


def _row(row: Row) -> bytes:
    kind, value, status, source, server = row
    mask = 0x01 | (0x02 if status else 0) | (0x04 if source else 0) | (0x08 if server else 0)
    out = bytes([mask, kind]) + struct.pack("<" + LAYOUTS[kind], value % 2 if kind == 1 else value)
    return out + b"".join(struct.pack(layout, one) for layout, one in (("<I", status), ("<q", source), ("<q", server)) if one)


def _body(rows: list[Row], head: bytes = b"head") -> bytes:
    return head + struct.pack("<i", len(rows)) + b"".join(map(_row, rows)) + TAIL


def _decoded(rows: list[Row]) -> Columns:
    out = Columns()
    body = _body(rows)
    records(body, 8, len(rows), "", out)
    return out


def _picture(columns: Columns, row: int) -> tuple[object, ...]:
    return tuple(getattr(columns, name)[row] for name in ("types", "values", "status", "source", "server"))


ROWS = st.tuples(
    st.sampled_from(sorted(LAYOUTS)), st.integers(-1000, 1000), st.sampled_from([0, 0, 0x40000000]),
    st.sampled_from([0, 5, 1 << 40]), st.sampled_from([0, 7, 1 << 50]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(ROWS, min_size=8, max_size=60),
    changes=st.lists(st.tuples(st.integers(0, 59), ROWS), max_size=6),
    server=st.sampled_from([7, 1 << 51, 3]),
)
def test_a_glance_sees_what_decoding_sees(rows: list[Row], changes: list[tuple[int, Row]], server: int) -> None:
    """What is said to have changed is exactly what has, beside the server's times, and decoded as always; else nothing is said."""
    before = glance(_body(rows), 4, len(rows))
    assert before is not None
    later = [(*row[:4], server if row[4] else 0) for row in rows]
    for place, row in changes:
        later[place % len(rows)] = row
    found = before.changed(_body(later, b"HEAD"), 4)
    old, new = _decoded(rows), _decoded(later)
    differing = [row for row in range(len(rows)) if _picture(old, row)[:4] != _picture(new, row)[:4]]
    if found is None:
        shapes = [len(_row(row)) for row in rows] != [len(_row(row)) for row in later]
        masks = any(_row(a)[:2] != _row(b)[:2] for a, b in zip(rows, later, strict=True))
        assert shapes or masks or len(differing) > len(rows) // 4
        return
    assert found[0] == differing
    for place, row in enumerate(differing):
        assert _picture(found[1], place) == _picture(new, row)
    again = before.changed(_body(later), 4)
    assert again is not None
    assert again[0] == []


@given(cut=st.integers(0, 200), flips=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 255)), min_size=1, max_size=5))
def test_torn_and_garbled_answers_are_for_the_decoder(cut: int, flips: list[tuple[int, int]]) -> None:
    """Whatever is broken outside of the values is never taken for an answer of the same form."""
    rows: list[Row] = [(8, number, 0, 5, 7) for number in range(10)]
    body = bytearray(_body(rows))
    before = glance(bytes(body), 4, 10)
    assert before is not None
    if 0 < cut < len(body) - 4:
        assert before.changed(bytes(body[:-cut]), 4) is None
    for place, flip in flips:
        body[4 + place % (len(body) - 4)] ^= flip
    found = before.changed(bytes(body), 4)
    same_form = body[4:8] == _body(rows)[4:8] and body[-4:] == TAIL
    assert found is None or same_form


@pytest.mark.parametrize("kind", [12, 0x80 | 6, 22])
def test_values_without_a_fixed_size_are_not_glanced_at(kind: int) -> None:
    """Strings, arrays and structures go to the decoder."""
    rows: list[Row] = [(8, 1, 0, 5, 7)]
    body = b"head" + struct.pack("<i", 2) + _row(rows[0]) + bytes([0x01, kind]) + struct.pack("<i", 0) + TAIL
    assert glance(body, 4, 2) is None
    assert glance(_body(rows), 4, 2) is None
