"""From the buffer to the sink: a window that slides in order, and nothing settled that was not acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from agent_bench import FakeSink, others, stored, turns, until
from structlog.testing import capture_logs

from edge_agent.agent.forward import Delivered, Forwarder, drained
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.model.stream import Entry
from edge_agent.ports import Buffer

OUT = "mqtt"


def count(number: int, kind: str = "E", stream: str = "filler") -> Entry:
    """Return an event whose body tells its number."""
    return Entry(stream, kind, "edgeagent.production.count.v1", number, number, json.dumps({"total": number}).encode())


async def fill(buffer: Buffer, first: int, last: int) -> None:
    """Append events ``first`` to ``last``."""
    await buffer.append([count(number) for number in range(first, last + 1)], None)


class Forwarding:
    """A forwarder at work on one sink; ``task`` is its run."""

    def __init__(self, buffer: Buffer, sink: FakeSink, forwarder: Forwarder | None = None) -> None:
        self.delivered = Delivered()
        self.forwarder = forwarder or Forwarder(buffer, OUT, self.delivered)
        self.task = asyncio.create_task(self.forwarder.run(sink))

    async def lost(self) -> None:
        """Wait until it gave up for the loss of the sink."""
        with pytest.raises(DisconnectedError):
            await asyncio.wait_for(self.task, 5)


@asynccontextmanager
async def forwarding(buffer: Buffer, sink: FakeSink) -> AsyncIterator[Forwarding]:
    """Forward until the test is done; then nothing may be left running."""
    work = Forwarding(buffer, sink)
    try:
        yield work
    finally:
        work.task.cancel()
        await asyncio.wait([work.task])
        assert not others()


async def unsettled(buffer: Buffer) -> list[int]:
    """Return the seq of every record that still waits."""
    return [record.key.seq for record in await buffer.peek(OUT, None, 1000, "E")]


async def settled(buffer: Buffer, *waiting: int) -> None:
    """Wait until exactly ``waiting`` are left."""
    async with asyncio.timeout(5):
        while await unsettled(buffer) != list(waiting):  # noqa: ASYNC110 - a settlement makes no event
            await asyncio.sleep(0.001)


async def test_the_window_is_filled_and_never_exceeded(buffer):
    """With twenty waiting and a window of five, five are in flight; each confirmation lets exactly one more go."""
    await fill(buffer, 1, 20)
    sink = FakeSink(window=5)
    async with forwarding(buffer, sink):
        for confirmed in range(16):
            await until(lambda want=confirmed + 5: len(sink.seen) >= want)
            await turns()
            assert len(sink.flying) == 5
            sink.confirm(confirmed + 1)
        await until(lambda: len(sink.flying) == 4)
    assert (sink.most, sink.numbers) == (5, list(range(1, 21)))


async def test_order_is_kept_when_confirmations_are_not_in_order(buffer):
    """Confirmations in any order change nothing in the order of sending."""
    await fill(buffer, 1, 9)
    sink = FakeSink(window=3)
    async with forwarding(buffer, sink):
        for batch in ((3, 1, 2), (5, 6, 4), (8, 9, 7)):
            await until(lambda batch=batch: max(batch) <= len(sink.seen))
            for seq in batch:
                sink.confirm(seq)
                await turns()
        await settled(buffer)
    assert sink.numbers == list(range(1, 10))


async def test_only_what_was_acknowledged_is_settled(buffer):
    """What is in flight still waits in the buffer; the one that was confirmed does not, whatever its place."""
    await fill(buffer, 1, 5)
    sink = FakeSink(window=5)
    async with forwarding(buffer, sink) as work:
        await until(lambda: len(sink.flying) == 5)
        await turns()
        assert await unsettled(buffer) == [1, 2, 3, 4, 5]
        assert work.delivered.sent == 0
        assert work.delivered.last_acknowledged is None
        sink.confirm(2)
        await settled(buffer, 1, 3, 4, 5)
        assert work.delivered.sent == 1
        assert work.delivered.last_acknowledged is not None


async def test_a_lost_sink_is_followed_by_the_unacknowledged_in_order(buffer):
    """The next sink gets what was in flight again, oldest first, then the rest; what was confirmed is not sent again."""
    await fill(buffer, 1, 8)
    first, second = FakeSink(window=5), FakeSink(window=5, by_itself=True)
    async with forwarding(buffer, first) as work:
        await until(lambda: len(first.flying) == 5)
        first.confirm(2, 4)
        await until(lambda: len(first.seen) == 7)
        first.lose()
        await work.lost()
        assert not others()
    async with forwarding(buffer, second):
        await settled(buffer)
    assert first.numbers == [1, 2, 3, 4, 5, 6, 7]
    assert second.numbers == [1, 3, 5, 6, 7, 8]


async def test_what_was_confirmed_in_the_moment_of_the_loss_counts(buffer):
    """Confirmations that the loss overtakes are settled all the same: nothing is repeated without need."""
    await fill(buffer, 1, 4)
    sink = FakeSink(window=4)
    async with forwarding(buffer, sink) as work:
        await until(lambda: len(sink.flying) == 4)
        sink.confirm(1, 3)
        sink.lose()
        await work.lost()
        assert await unsettled(buffer) == [2, 4]
        assert work.delivered.sent == 2


async def test_cancelling_settles_what_was_confirmed_and_nothing_else(buffer):
    """A shutdown in mid-flight keeps what has no acknowledgement."""
    await fill(buffer, 1, 4)
    sink = FakeSink(window=4)
    async with forwarding(buffer, sink) as work:
        await until(lambda: len(sink.flying) == 4)
        sink.confirm(1)
        work.task.cancel()
        await asyncio.wait([work.task])
        assert await unsettled(buffer) == [2, 3, 4]


async def test_nothing_is_looked_for_that_nobody_has_told(buffer, monkeypatch):
    """Confirmations alone cost no look into the buffer; what is appended meanwhile is sent with the next one."""
    peek, looks = buffer.peek, []

    async def counted(*arguments):
        looks.append(arguments)
        return await peek(*arguments)

    monkeypatch.setattr(buffer, "peek", counted)
    await fill(buffer, 1, 5)
    sink = FakeSink(window=10)
    async with forwarding(buffer, sink):
        await until(lambda: len(sink.flying) == 5)
        await asyncio.sleep(0.02)  # what told of the five has been heard
        sink.confirm(1)
        await until(lambda: ("filler", 1) not in sink.flying)
        await turns()
        before = len(looks)
        for seq in (2, 3):
            sink.confirm(seq)
            await until(lambda seq=seq: ("filler", seq) not in sink.flying)
            await turns()
        assert len(looks) == before
        await fill(buffer, 6, 6)
        await turns()
        sink.confirm(4)
        await until(lambda: ("filler", 6) in sink.flying)
        sink.confirm(5, 6)
        await settled(buffer)
    assert sink.numbers == [1, 2, 3, 4, 5, 6]


async def test_a_rejected_record_does_not_block(buffer):
    """The queue moves on; the loss record that takes its place is delivered under the same number, and the log tells."""
    await fill(buffer, 1, 5)
    sink = FakeSink(window=2)
    with capture_logs() as logs:
        async with forwarding(buffer, sink) as work:
            await until(lambda: len(sink.flying) == 2)
            sink.reject(1, "packet too large")
            for seq in (2, 3, 4, 5):
                await until(lambda want=seq: ("filler", want) in sink.flying)
                sink.confirm(seq)
            await until(lambda: work.delivered.sent + work.delivered.rejected == 5)
            assert (work.delivered.sent, work.delivered.rejected) == (4, 1)
            await until(lambda: ("filler", 1) in sink.flying)
            assert sink.seen[-1].entry.type == "edgeagent.collection.gap.v1"
            sink.confirm(1)
            await settled(buffer)
            assert (work.delivered.sent, work.delivered.rejected) == (5, 1)
    (line,) = [line for line in logs if line["event"] == "record.rejected"]
    assert (line["stream"], line["seq"], line["reason"], line["log_level"]) == ("filler", 1, "packet too large", "error")


async def test_a_resend_of_an_idle_stream_starts_at_once(buffer):
    """What is asked for again is sent again with the same numbers and marked, and nothing else is."""
    await fill(buffer, 1, 6)
    sink = FakeSink(window=3, by_itself=True)
    async with forwarding(buffer, sink) as work:
        await settled(buffer)
        assert await buffer.resend(OUT, "filler", buffer.epoch, 2, 4) == 3
        work.forwarder.start_over()
        await until(lambda: len(sink.seen) == 9)
        await settled(buffer)
    assert sink.numbers == [1, 2, 3, 4, 5, 6, 2, 3, 4]
    assert [record.resent for record in sink.seen] == [False] * 6 + [True] * 3


async def test_a_resend_while_records_are_in_flight_repeats_none_of_them(buffer):
    """Starting over in mid-flight brings the wanted records, and never one that is in flight already."""
    await fill(buffer, 1, 8)
    sink = FakeSink(window=3)
    async with forwarding(buffer, sink) as work:
        for seq in (1, 2, 3):
            await until(lambda want=seq: ("filler", want) in sink.flying)
            sink.confirm(seq)
        await until(lambda: len(sink.flying) == 3)
        await settled(buffer, 4, 5, 6, 7, 8)
        await buffer.resend(OUT, "filler", buffer.epoch, 1, 2)
        work.forwarder.start_over()
        for seq in (4, 5, 6, 1, 2, 7, 8):
            await until(lambda want=seq: ("filler", want) in sink.flying)
            sink.confirm(seq)
            await turns()
        await settled(buffer)
    assert sorted(sink.numbers) == [1, 1, 2, 2, 3, 4, 5, 6, 7, 8]


async def test_what_is_appended_while_nothing_waits_is_sent(buffer):
    """An idle forwarder wakes up for the next event."""
    sink = FakeSink(by_itself=True)
    async with forwarding(buffer, sink):
        for number in (1, 2, 3):
            await fill(buffer, number, number)
            await until(lambda want=number: len(sink.seen) == want)


async def test_events_go_before_telemetry(buffer):
    """What counts is sent first, however old the telemetry is."""
    await buffer.append([count(number, "T", "filler/telemetry") for number in range(1, 4)], None)
    await fill(buffer, 1, 4)
    sink = FakeSink(window=2, by_itself=True)
    async with forwarding(buffer, sink):
        await until(lambda: len(sink.seen) == 7)
    assert [record.entry.kind for record in sink.seen] == ["E"] * 4 + ["T"] * 3


async def test_a_backlog_is_sent_once_and_in_order(buffer):
    """Many windows, more than is read ahead at once, settled in the background: none twice, none left, all in order."""
    for start in range(1, 1000, 250):
        await fill(buffer, start, start + 249)
    sink = FakeSink(window=20, by_itself=True)
    async with forwarding(buffer, sink) as work:
        await until(lambda: work.delivered.sent == 1000)
        await settled(buffer)
    assert sink.numbers == list(range(1, 1001))


async def test_a_bug_in_the_sink_ends_the_forwarder_but_not_the_records(buffer):
    """An error that is no loss of the connection comes through, and what was confirmed before is settled."""
    await fill(buffer, 1, 3)
    sink = FakeSink(window=3)
    async with forwarding(buffer, sink) as work:
        await until(lambda: len(sink.flying) == 3)
        sink.confirm(1)
        sink.flying["filler", 2].set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(work.task, 5)
        assert await unsettled(buffer) == [2, 3]


async def test_drained_means_that_nothing_waits(buffer):
    """True once the last record is settled, False when time is over before that."""
    await fill(buffer, 1, 2)
    sink = FakeSink()
    async with forwarding(buffer, sink):
        await until(lambda: len(sink.flying) == 2)
        sink.confirm(1)
        assert await drained(buffer, 0.05) is False
        sink.confirm(2)
        assert await drained(buffer, 5) is True
    assert await stored(buffer) == []


@pytest.mark.parametrize("trouble", ["settle", "peek"])
async def test_a_store_in_trouble_does_not_end_the_forwarding(buffer, monkeypatch, trouble):
    """A settlement or a look that fails is told to the log and made again; nothing is lost and nothing ends."""
    working, failures = getattr(buffer, trouble), iter([True, True])

    async def failing(*arguments):
        if next(failures, False):
            raise StorageError("disk I/O error")
        return await working(*arguments)

    monkeypatch.setattr(buffer, trouble, failing)
    monkeypatch.setattr("edge_agent.agent.forward._RETRY", 0.01)
    await fill(buffer, 1, 6)
    with capture_logs() as logs:
        async with forwarding(buffer, FakeSink(window=2, by_itself=True)) as work:
            await until(lambda: work.delivered.sent >= 6)
            await fill(buffer, 7, 7)
            await settled(buffer)
            assert not work.task.done()
    assert {"settle.not_stored", "forward.not_readable"} & {line["event"] for line in logs}
