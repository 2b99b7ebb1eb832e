"""Whose turn it is: what is new against what was asked for again, events against telemetry, and a backlog at its pace."""

from __future__ import annotations

import asyncio
import time

import pytest
from agent_bench import FakeSink, others, until
from test_agent_forward import OUT, count, fill, settled

from edge_agent.agent.forward import Delivered, Forwarder
from edge_agent.agent.lanes import Pace


class Running:
    """A forwarder with a pace, at work."""

    def __init__(self, buffer, sink, rate=None):
        self.delivered = Delivered()
        self.forwarder = Forwarder(buffer, OUT, self.delivered, drain_rate=rate)
        self.task = asyncio.create_task(self.forwarder.run(sink))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])
        assert not others()


async def test_a_resend_takes_half_the_window_and_live_goes_on(buffer):
    """With eight places and a hundred repeated records, at most four of them are in flight, and what is new passes."""
    await fill(buffer, 1, 100)
    sink = FakeSink(window=8, by_itself=True)
    async with Running(buffer, sink) as work:
        await settled(buffer)
        sink.by_itself = False
        await buffer.resend(OUT, "filler", buffer.epoch, 1, 100)
        work.forwarder.start_over()
        await until(lambda: len(sink.flying) == 4)
        assert [record.resent for record in sink.seen[100:]] == [True] * 4
        await fill(buffer, 101, 103)
        sink.confirm(1)
        await until(
            lambda: {("filler", 5), ("filler", 103)} <= sink.flying.keys()
        )  # in which order the two lanes move is not promised
        assert sorted(seq for _, seq in sink.flying) == [2, 3, 4, 5, 101, 102, 103]
        sink.by_itself = True
        sink.confirm(2, 3, 4, 5, 101, 102, 103)
        await settled(buffer)
    repeated = [record.key.seq for record in sink.seen if record.resent]
    assert repeated == list(range(1, 101))
    assert [record.key.seq for record in sink.seen if not record.resent] == list(range(1, 104))


async def test_a_resend_that_was_waiting_at_the_start_is_met(buffer):
    """Marks that a run before left behind are sent without being asked for anew, after more new records than one look shows."""
    sink = FakeSink(window=8, by_itself=True)
    await fill(buffer, 1, 300)
    async with Running(buffer, sink):
        await settled(buffer)
    await buffer.resend(OUT, "filler", buffer.epoch, 1, 290)
    await fill(buffer, 301, 700)
    again = FakeSink(window=8, by_itself=True)
    async with Running(buffer, again):
        await settled(buffer)
    assert [record.key.seq for record in again.seen if record.resent] == list(range(1, 291))
    assert [record.key.seq for record in again.seen if not record.resent] == list(range(301, 701))


async def test_telemetry_has_its_share_beside_a_backlog_of_events(buffer):
    """Of eight places two are telemetry's while events fill the rest; without telemetry the events have all."""
    await fill(buffer, 1, 50)
    sink = FakeSink(window=8)
    async with Running(buffer, sink):
        await until(lambda: len(sink.flying) == 8)
        assert [record.entry.kind for record in sink.seen] == ["E"] * 8
        await buffer.append([count(number, "T", "filler/telemetry") for number in range(1, 6)], None)
        await asyncio.sleep(0.06)
        sink.confirm(1, 2, 3)
        await until(lambda: len(sink.seen) == 11)
        assert [record.entry.kind for record in sink.seen[8:]].count("T") == 2
        sink.confirm(1, 2, stream="filler/telemetry")
        await until(lambda: ("filler/telemetry", 4) in sink.flying)
        assert sum(stream == "filler" for stream, _ in sink.flying) == 6


async def test_a_backlog_is_paced_and_the_present_is_not(buffer):
    """What waited before goes at the rate that was set; telemetry made meanwhile passes at once, and order is kept."""
    await fill(buffer, 1, 60)
    sink = FakeSink(window=20, by_itself=True)
    async with Running(buffer, sink, rate=200.0):
        started = time.monotonic()
        await until(lambda: len(sink.seen) >= 10)
        await buffer.append([count(number, "T", "filler/telemetry") for number in range(1, 31)], None)
        await fill(buffer, 61, 70)
        await until(lambda: sum(record.entry.kind == "T" for record in sink.seen) == 30)
        assert sum(record.entry.kind == "E" for record in sink.seen) < 50
        await until(lambda: len(sink.seen) == 100)
        took = time.monotonic() - started
        await settled(buffer)
    assert [record.key.seq for record in sink.seen if record.entry.kind == "E"] == list(range(1, 71))
    assert 0.25 <= took <= 2.0


@pytest.mark.parametrize("rate", [1.0, 50.0, 1000.0])
def test_a_pace_is_kept_over_any_ten_seconds(rate):
    """Whoever asks at every millisecond gets the rate, and a twentieth of a second's worth in advance."""
    pace, passed = Pace(rate), 0
    for millisecond in range(10_000):
        while pace.wait(100.0 + millisecond / 1000) == 0.0:
            pace.passed()
            passed += 1
    assert abs(passed - (10 * rate + max(2.0, rate / 20))) <= 2
    wait = pace.wait(110.0)
    assert wait == 0.0 or pace.wait(110.0 + wait + 1e-9) == 0.0


async def test_without_a_pace_nothing_is_held_back(buffer):
    """The default is as fast as the sink takes them."""
    await fill(buffer, 1, 500)
    sink = FakeSink(window=20, by_itself=True)
    async with Running(buffer, sink) as work:
        await until(lambda: work.delivered.sent == 500)
