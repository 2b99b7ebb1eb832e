"""The consumer's watermarks: what is believed, what is sent again and when, and what nonsense does (nothing)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from agent_bench import until
from structlog.testing import capture_logs

from edge_agent.agent import confirm
from edge_agent.agent.confirm import Watermarks
from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.errors import StorageError
from edge_agent.ports import Confirmation, StreamLevel
from edge_agent.publish.topics import Topics

TOPICS = Topics("edge", ("acme", "plant1"), "gw1")
STREAMS = {"filler": TOPICS.unit_stream("filler", EquipmentPath(("acme", "plant1", "filler")))}
TOPIC = "edge/v1/acme/plant1/_agent/gw1/confirmed/filler"


class Store:
    """A buffer with one stream that is delivered up to 10."""

    def __init__(self, mark: int | None = 4) -> None:
        self.delivered, self.mark, self.trouble = 10, mark, False
        self.resent: list[tuple[int, int]] = []
        self.asked = self.looked = 0

    async def confirm(self, stream: str, epoch: str, seq: int) -> Confirmation:
        """Judge as the real one does."""
        self.asked += 1
        if self.trouble:
            raise StorageError("no disk")
        if (stream, epoch) != ("filler", "E1"):
            return "unknown"
        if seq <= (self.mark or 0):
            return "backwards"
        if seq > self.delivered:
            return "ahead"
        self.mark = seq
        return "taken"

    async def levels(self) -> Sequence[StreamLevel]:
        """Return the one stream."""
        self.looked += 1
        if self.trouble:
            raise StorageError("no disk")
        return [StreamLevel("filler", "E1", 1, 12, self.delivered, None, self.mark)]

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Remember what was asked for."""
        assert (output, stream, epoch) == ("mqtt", "filler", "E1")
        self.resent.append((first, last))
        return last - first + 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(confirm, "_LOOK", 0.005)


@asynccontextmanager
async def watching(store: Store, within: float = 0.1) -> AsyncIterator[tuple[Watermarks, list[None]]]:
    """Run over one connection."""
    again: list[None] = []
    marks = Watermarks(store, "mqtt", TOPICS, STREAMS, within=within, sent_again=lambda: again.append(None))
    assert marks.listening.filters == ("edge/v1/acme/plant1/_agent/gw1/confirmed/+",)
    task = asyncio.create_task(marks.run())
    try:
        yield marks, again
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_stays_unconfirmed_after_a_connect_is_published_again_ever_more_rarely() -> None:
    """From behind the mark to what had been delivered before, once, then after four times as long; not what came later."""
    store = Store()
    loop = asyncio.get_running_loop()
    async with watching(store) as (marks, again):
        begin = loop.time()
        await until(lambda: store.resent)
        assert loop.time() - begin >= 0.1
        assert store.resent == [(5, 10)]
        store.delivered = 12
        await until(lambda: len(store.resent) == 2)
        assert loop.time() - begin >= 0.5
        assert store.resent == [(5, 10)] * 2
        assert (len(again), marks.republished) == (2, 12)


async def test_a_connect_while_the_store_cannot_be_read_is_made_up_for() -> None:
    """What a broker lost is published again also where nobody could look, at the connect, how far the consumer was."""
    store = Store()
    store.trouble = True
    async with watching(store, within=0.02):
        await until(lambda: store.looked > 1)
        store.trouble = False
        await until(lambda: store.resent)
    assert store.resent[0] == (5, 10)


async def test_a_mark_that_moves_is_waited_for() -> None:
    """A slow consumer is not sent everything again; one that stops is, from where it stopped."""
    store = Store()
    async with watching(store, within=0.2) as (marks, _):
        for seq in (5, 6, 7):
            await asyncio.sleep(0.1)
            marks.heard(TOPIC, b'{"epoch":"E1","seq":%d}' % seq)
        await until(lambda: store.mark == 7)
        assert not store.resent
        await until(lambda: store.resent)
        assert store.resent == [(8, 10)]
        marks.heard(TOPIC, b'{"epoch":"E1","seq":10}')
        await until(lambda: store.mark == 10)
        await asyncio.sleep(0.05)
        assert not marks._owed


@pytest.mark.parametrize("mark", [None, 10], ids=["nobody_ever_confirmed", "everything_is_confirmed"])
async def test_without_a_debt_nothing_is_published_again(mark: int | None) -> None:
    """A consumer that never said a word is none that could be behind."""
    store = Store(mark)
    async with watching(store, within=0.02):
        await asyncio.sleep(0.1)
        assert not store.resent


async def test_a_consumer_may_be_faster_than_the_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark ahead of what is delivered waits for that; one that never comes true is refused in the end."""
    monkeypatch.setattr(confirm, "_AHEAD", 0.1)
    store = Store()
    async with watching(store, within=9) as (marks, _):
        marks.heard(TOPIC, b'{"epoch":"E1","seq":11}')
        await until(lambda: store.asked)
        assert (store.mark, marks.refused) == (4, 0)
        store.delivered = 11
        await until(lambda: store.mark == 11)
        marks.heard(TOPIC, b'{"epoch":"E1","seq":99}')
        await until(lambda: marks.refused == 1)
        assert store.mark == 11


async def test_nonsense_is_counted_told_rarely_and_moves_nothing() -> None:
    """Whatever stands on the topics, a flood of it included: no exception, no memory, one line of each kind."""
    store = Store()
    nonsense = [
        b"{",
        b"null",
        b'"x"',
        b'{"epoch":"E1"}',
        b'{"epoch":"E1","seq":true}',
        b'{"epoch":"E1","seq":-1}',
        b"\xff",
        b'{"epoch":"\xff","seq":5}',
        b"[" * 250,
    ]
    nonsense += [
        b'{"epoch":"E1","seq":1e400}',
        b'{"epoch":"E1","seq":%d}' % (1 << 70),
        b'{"epoch":"E2","seq":5}',
        b'{"epoch":"E1","seq":3}',
    ]
    with capture_logs() as logs:
        async with watching(store, within=9) as (marks, _):
            for payload in nonsense * 3:
                marks.heard(TOPIC, payload)
                await until(lambda: not marks._heard)  # each is looked at, not only the last one
            for n in range(10_000):
                marks.heard(TOPIC, b"x" * 300)
                marks.heard(f"{TOPIC}{n}", b"{}")
            assert len(marks._heard) + len(marks._claims) <= 2
            marks.heard(TOPIC, b"")  # deleted
            await asyncio.sleep(0.02)
            assert marks.refused >= 20_000
    assert store.mark == 4
    assert len([line for line in logs if line["event"] == "confirm.refused"]) <= 5


async def test_a_store_in_trouble_does_not_end_the_watch() -> None:
    """The question waits; the mark is taken in when the disk is back."""
    store = Store()
    async with watching(store, within=9) as (marks, _):
        store.trouble = True
        marks.heard(TOPIC, b'{"epoch":"E1","seq":6}')
        await until(lambda: store.asked > 2)
        store.trouble = False
        await until(lambda: store.mark == 6)
