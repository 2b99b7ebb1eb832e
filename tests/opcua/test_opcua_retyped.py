"""A tag whose device sends another type: one word when it begins, one when it is over, however it flickers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edge_agent.agent.journal import Journal
from edge_agent.drivers.opcua.inbox import Inbox
from edge_agent.drivers.opcua.report import Reporter
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.model.reading import Batch, Tag, TagStatus

SECOND = 10**9
INT32, INT64, ARRAY = 6, 8, 6 | 0x80


class Clock:
    """A plant clock that a test sets."""

    speed = 1.0
    time = 1_700_000_000 * SECOND

    def now(self) -> int:
        return self.time

    async def sleep_until(self, time_: int) -> None:
        raise NotImplementedError


class Desk:
    """A reporter, and what it told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.inbox = Inbox(1000, lambda _: None, lambda _: None)
        tags = [Tag("plc", "count", type="int32"), Tag("plc", "other", type="int32"), Tag("plc", "free")]
        self.reporter = Reporter(tags, None, self.clock, self.inbox, lambda status: f"{status:08X}")

    async def told(self, *rows: tuple[int, int, Any], status: int = 0, after: int = 0) -> list[tuple[str, bool]]:
        """Report rows (tag, type, value) that many seconds later; return the tag statuses that come of it."""
        self.clock.time += after * SECOND
        columns = Columns()
        for handle, kind, value in rows:
            columns.append(handle, kind=kind, value=value, status=status)
        self.reporter.put(columns)
        notices = [notice for batch in await self.inbox.take() for notice in batch.after]
        assert all(notice.code == "type_changed" for notice in notices if isinstance(notice, TagStatus))
        return [(notice.name, notice.ok) for notice in notices if isinstance(notice, TagStatus)]


async def test_it_is_told_once_and_taken_back_once() -> None:
    """The first wrong type is told, those after it are no news; right values count when no wrong one came for 10 s."""
    desk = Desk()
    assert await desk.told((0, INT32, 1), (1, INT32, 1)) == []
    assert await desk.told((0, INT64, 2), (0, INT64, 3)) == [("count", False)]
    assert await desk.told((0, INT64, 4), (1, ARRAY, (1, 2)), after=60) == [("other", False)]
    assert await desk.told((0, INT32, 5), after=5) == []
    assert await desk.told((0, INT32, 6), after=5) == [("count", True)]
    assert await desk.told((0, INT32, 7), after=60) == []
    assert await desk.told((0, INT64, 8), after=60) == [("count", False)]


async def test_a_right_value_that_nothing_follows_is_enough() -> None:
    """A tag that came right and then does not change is taken back with the next batch of its device."""
    desk = Desk()
    assert await desk.told((0, INT64, 2)) == [("count", False)]
    assert await desk.told((0, INT32, 3)) == []
    assert await desk.told((1, INT32, 1), after=11) == [("count", True)]


async def test_a_tag_that_flickers_is_told_once() -> None:
    """A type that changes with every sample is one fault, not one for each sample."""
    desk = Desk()
    told = [await desk.told((0, (INT32, INT64)[turn % 2], turn), after=1) for turn in range(60)]
    assert [one for news in told for one in news] == [("count", False)]
    assert await desk.told((0, INT32, 7), (0, INT64, 7), after=20) == []
    assert await desk.told((0, INT64, 7), (0, INT32, 7), after=20) == []
    assert await desk.told((0, INT32, 7), after=11) == [("count", True)]


async def test_what_is_no_change_of_type() -> None:
    """No value, a bad status and the first value of a tag without a declared type are not another type."""
    desk = Desk()
    assert await desk.told((0, 0, None), (2, INT64, 5)) == []
    assert await desk.told((0, INT64, 5), status=0x8000_0000) == []
    assert await desk.told((2, INT32, 5)) == [("free", False)]


class Shelf:
    """Keeps what the journal writes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def append(self, entries: Sequence[Any], _: object) -> None:
        self.events += [json.loads(entry.body) for entry in entries]


async def test_the_fault_says_what_mends_it() -> None:
    """The agent's stream gets one device.fault with the code, the tag, both types and another remedy than that of a lost tag."""
    shelf, clock = Shelf(), Clock()
    journal = Journal("edge", shelf, clock, prefix="urn", cfg="1", devices={})  # type: ignore[arg-type]  # it only appends
    for code in ("type_changed", "tag_lost"):
        await journal.deliver(Batch("plc", clock.now(), after=(TagStatus("plc", clock.now(), "count", False, "why", code),)))
    changed, lost = shelf.events
    assert (changed["code"], changed["tag"], changed["action"], changed["text"]) == ("type_changed", "count", "raised", "why")
    assert "type" in changed["remedy"]
    assert changed["remedy"] != lost["remedy"]
