"""What a poll tells by comparing columns is what it would tell row by row."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.drivers.opcua.poll import differs
from edge_agent.drivers.opcua.pollplan import Sheet
from edge_agent.drivers.opcua.shape import Columns

HANDLES = [4, 7, 9]
CELL = st.tuples(
    st.sampled_from([6, 11]), st.sampled_from([0, 1, 1.0, -0.0, "nan", True]), st.sampled_from([0, 0, 0, 0x408F0000, 0x80340000]),
    st.sampled_from([0, 10, 20]), st.integers(1, 9),
)  # fmt: skip
ANSWER = st.lists(CELL, min_size=len(HANDLES), max_size=len(HANDLES))


def _columns(answer: list[tuple[Any, ...]]) -> Columns:
    rows = Columns()
    for handle, (kind, value, status, source, server) in zip(HANDLES, answer, strict=True):
        own = float(value) if value == "nan" else value  # an object of its own, as decoding makes it
        rows.append(handle, kind=kind, value=own, status=status, source=source, server=server)
    return rows


def _sheet(*, plain: bool = True) -> Sheet:
    return Sheet([ua.ReadValueId(ua.NodeId(handle), ua.AttributeIds.Value) for handle in HANDLES], HANDLES, plain=plain)


@pytest.mark.parametrize("plain", [True, False])
@given(answers=st.lists(ANSWER, max_size=8))
@settings(deadline=None)
def test_opcua_sheet_tells_what_changed(plain: bool, answers: list[list[tuple[Any, ...]]]) -> None:
    """Whatever a server answers, and in whatever order: the same rows are news as when each is compared with what was told of it last."""
    sheet, known, reference = _sheet(plain=plain), dict[int, tuple[object, ...]](), dict[int, tuple[object, ...]]()
    for answer in answers:
        rows = _columns(answer)
        now = dict(zip(HANDLES, zip(rows.types, rows.values, rows.status, rows.source, strict=True), strict=True))
        expected = [row for row, handle in enumerate(HANDLES) if differs(reference.get(handle), now[handle], None)]
        reference.update(now)
        news = sheet.changed(rows)
        if news is None:
            known.update(sheet.forget())
            sheet.remember(rows.copy())
            news = [row for row, handle in enumerate(HANDLES) if differs(known.get(handle), now[handle], None)]
            known.update(now)
        assert news == expected


def test_opcua_sheet_is_quick_where_nothing_is_remarkable() -> None:
    """After one good answer the next is compared by column, and a server time alone is no news."""
    sheet = _sheet()
    assert sheet.changed(_columns([(6, 1, 0, 10, 1)] * 3)) is None
    sheet.remember(_columns([(6, 1, 0, 10, 1)] * 3))
    assert sheet.changed(_columns([(6, 1, 0, 10, 2)] * 3)) == []
    assert sheet.changed(_columns([(6, 1, 0, 10, 2), (6, 2, 0, 10, 2), (6, 1, 0, 20, 2)])) == [1, 2]
    assert [handle for handle, _ in sheet.forget()] == HANDLES
    assert sheet.changed(_columns([(6, 1, 0, 10, 1)] * 3)) is None


def test_opcua_sheet_leaves_what_it_keeps_alone() -> None:
    """Whoever gets the rows may change them (scale, times): what was told stays what the server said."""
    rows = _columns([(6, 1, 0, 10, 1)] * 3)
    kept = rows.copy()
    rows.values[0], rows.source[1] = 5, 0
    assert (kept.values, kept.source) == ([1, 1, 1], [10, 10, 10])
    chosen = kept.select([2, 0])
    assert (chosen.handles, chosen.values) == ([9, 4], [1, 1])
