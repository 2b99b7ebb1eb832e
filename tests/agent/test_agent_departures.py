"""What leaves is told to whoever listens, and nobody who listens holds up what leaves."""

from __future__ import annotations

import asyncio
import json

import pytest
from agent_bench import ManualClock

from edge_agent.agent import departures as room
from edge_agent.agent.departures import Departures
from edge_agent.agent.envelope import Envelope, Settings
from edge_agent.agent.forward import Delivered
from edge_agent.model.stream import Entry, Record, RecordKey
from edge_agent.publish.topics import StreamInfo

EPOCH = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def record(seq: int) -> Record:
    """One event of the filler."""
    return Record(
        RecordKey("filler", EPOCH, seq), Entry("filler", "E", "edgeagent.production.count.v1", 1, 1, b'{"total":%d}' % seq)
    )


@pytest.fixture
def delivered() -> Delivered:
    """What the forwarder counts in."""
    return Delivered()


@pytest.fixture
def departures(delivered: Delivered) -> Departures:
    """The room under test."""
    settings = Settings("gw1", "edge", ("acme",), "edgeagent", "urn:x:{name}:{version}", False)
    info = StreamInfo("filler", "/acme/filler", "filler", "edge/v1/acme/filler", "filler")
    return Departures(delivered, Envelope(settings, {"filler": info}), ManualClock(0))


async def test_a_listener_hears_every_record_once_and_in_order(departures, delivered):
    """The whole CloudEvent, with how long the acknowledgement took."""
    lines = departures.lines()
    assert await anext(lines) == b"\n"
    for seq in (1, 2, 3):
        delivered.acknowledged(record(seq), 0.0125)
    told = [json.loads(row) for row in (await anext(lines)).splitlines()]
    assert [(each["event"]["data"]["seq"], each["wait_ms"], each["kind"]) for each in told] == [
        (1, 12.5, "E"),
        (2, 12.5, "E"),
        (3, 12.5, "E"),
    ]
    await lines.aclose()
    assert delivered.listeners == []


async def test_a_slow_listener_is_told_what_it_missed(departures, delivered, monkeypatch):
    """Memory is bounded, and the number of those left out is said."""
    monkeypatch.setattr(room, "_MOST", 5)
    lines = departures.lines()
    await anext(lines)
    for seq in range(1, 9):
        delivered.acknowledged(record(seq), 0.001)
    assert await anext(lines) == b'{"missed":3}\n'
    assert len((await anext(lines)).splitlines()) == 5
    await lines.aclose()


async def test_silence_is_told_and_the_end_lets_everybody_go(departures, delivered, monkeypatch):
    """An empty line says that the agent is there; at the end every listener returns at once."""
    monkeypatch.setattr(room, "_QUIET", 0.01)
    lines = departures.lines()
    assert [await anext(lines), await anext(lines)] == [b"\n", b"\n"]
    monkeypatch.setattr(room, "_QUIET", 60)
    heard = [departures.lines() for _ in range(3)]
    for each in heard:
        await anext(each)
    waiting = [asyncio.ensure_future(_rest(each)) for each in heard]
    await asyncio.sleep(0)
    departures.close()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    await lines.aclose()
    assert delivered.listeners == []


async def _rest(lines) -> None:
    async for _ in lines:
        pass
