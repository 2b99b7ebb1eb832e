"""Marks: how far a unit has a device's data is stored with what they caused, and what comes again is taken once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from agent_bench import ManualClock, body, scan, short, stored, unit_of
from test_agent_unit import running

from edge_agent.agent.unit import _further, _news
from edge_agent.model.reading import Batch, Mark

L = "digest:7@1"


def batch(mark: Mark | None, times: list[int], *, historical: bool = True) -> Batch:
    """Return rows of tag 0, one for each time, whose value is the time."""
    rows = len(times)
    return Batch("plc1", 1000, [0] * rows, list(times), [0] * rows, list(times), [0] * rows, mark=mark, historical=historical)


def marked(rows: Batch, mark: Mark, *, historical: bool = False) -> Batch:
    """Return a batch with a mark."""
    return msgspec.structs.replace(rows, mark=mark, historical=historical)


@pytest.mark.parametrize(
    ("mine", "new", "left"),
    [
        (None, Mark(L, 5), [1, 2, 3]),
        (Mark(L, 4), Mark(L, 5), [1, 2, 3]),
        (Mark(L, 5), Mark(L, 5), []),
        (Mark(L, 9), Mark(L, 5), []),
        (Mark(L, 5, left=1), Mark(L, 5), [1, 2, 3]),
        (Mark(L, 5, left=1), Mark(L, 5, left=1), []),
        (Mark(L, 4, seen={0: 2}), Mark(L, 5), [2, 3]),
        (Mark(L, 9, seen={0: 2}), Mark("history:x", 0), [3]),
        (Mark(L, 9), Mark("history:x", 0), [1, 2, 3]),
    ],
    ids=["new", "next", "same", "behind", "last part", "same part", "overtaken by a Read", "history from there", "history of all"],
)
def test_what_comes_again_is_taken_once(mine: Mark | None, new: Mark, left: list[int]) -> None:
    """Of a historical batch a reader keeps what is behind its own mark, and in another line what is newer than all it has."""
    assert _news(batch(new, [1, 2, 3]), mine).values == left


def test_live_rows_are_never_judged_by_a_mark() -> None:
    """What is sampled now is news, whatever its device says of earlier lines."""
    assert _news(batch(Mark(L, 1), [1, 2, 3], historical=False), Mark(L, 9)).values == [1, 2, 3]


@pytest.mark.parametrize(
    ("mine", "new", "historical", "after"),
    [
        (None, Mark(L, 5), True, Mark(L, 5)),
        (Mark(L, 9), Mark(L, 5), True, Mark(L, 9)),
        (Mark(L, 9), Mark("other:1@2", 0), False, Mark("other:1@2", 0)),
        (Mark(L, 9, seen={0: 7}), Mark("history:x", 0, seen={0: 5, 1: 3}), True, Mark("history:x", 0, seen={0: 7, 1: 3})),
    ],
    ids=["first", "told again", "new line", "history"],
)
def test_a_device_that_tells_again_sets_no_reader_back(mine: Mark | None, new: Mark, historical: bool, after: Mark) -> None:
    """A reader that is ahead stays where it is."""
    assert _further(mine, new, historical=historical) == after


async def test_a_mark_is_stored_with_what_its_rows_caused(buffer) -> None:
    """The mark comes back with the count after a kill; one whose rows still wait for their commit is not known to be stored."""
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(marked(scan(0, 100, up=True), Mark(L, 1)))
        await unit.deliver(marked(scan(1, 107), Mark(L, 2, facts=b"x")))
        assert unit.stored("plc1") == unit.reached("plc1") == Mark(L, 2, facts=b"x")
    again = unit_of(buffer, ManualClock())
    await again.open()
    assert again.reached("plc1") == Mark(L, 2, facts=b"x")
    assert again.stored("plc1") == Mark(L, 2, facts=b"x")
    assert again.reached("plc2") is None


async def test_a_mark_without_consequences_is_stored_soon(buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that change nothing are committed within a second or so, for the device keeps them until then."""
    monkeypatch.setattr("edge_agent.agent.unit._MARKING", 0.05)
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(marked(scan(0, 100, up=True), Mark(L, 1)))
        await unit.deliver(marked(scan(1, 100), Mark(L, 2)))
        await asyncio.sleep(0.06)
        await unit.deliver(marked(scan(2, 100), Mark(L, 3)))
        assert unit.stored("plc1") == Mark(L, 3)


async def test_rows_told_again_are_counted_once(buffer) -> None:
    """A device that begins at an older message for another reader's sake adds nothing to what is in."""
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(marked(scan(0, 100, up=True), Mark(L, 1)))
        await unit.deliver(marked(scan(1, 107), Mark(L, 2)))
        await unit.deliver(marked(scan(1, 107), Mark(L, 2), historical=True))
        await unit.deliver(marked(scan(2, 109), Mark(L, 3), historical=True))
        counts = [body(entry) for entry in await stored(buffer) if short(entry) == "production.count"]
    assert [count["delta"] for count in counts] == [7, 2]
    assert [count.get("derivation") for count in counts] == ["observed", "historical"]
