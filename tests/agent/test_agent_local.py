"""The local API of a whole agent: what it tells while it runs, and what the store remembers for when nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agent_bench import at, until
from agent_process import CONFIG, Plant
from structlog.testing import capture_logs

from edge_agent.agent.desk import BufferDesk
from edge_agent.agent.envelope import Envelope, configured, keep, stored
from edge_agent.agent.look import _problems, _unheard
from edge_agent.buffer import failpoint
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.cli.words import buffer_lines
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.instant import iso
from edge_agent.model.stream import Entry, RecordKey
from edge_agent.status.client import NoAgentError, RemoteDesk
from edge_agent.status.report import BufferReport, LinkReport, ResendWish, Wanted


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch) -> None:
    """Let the socket stand in the buffer's directory."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Plant:
    """A PLC, a broker and a clock."""
    return Plant(tmp_path, monkeypatch)


async def ask(plant: Plant, question: Callable[[RemoteDesk], Any]) -> Any:
    """Ask the running agent as another process would."""
    desk = RemoteDesk(plant.folder / "buffer" / "gw1.sock")
    return await asyncio.to_thread(lambda: asyncio.run(question(desk)))


async def ask_until(plant: Plant, question: Callable[[RemoteDesk], Any], good: Callable[[Any], object]) -> Any:
    """Ask again and again until the answer is ``good``, for five seconds at most."""
    async with asyncio.timeout(5):
        while not good(answer := await ask(plant, question)):
            pass
    return answer


async def settled(plant: Plant) -> None:
    """Wait until the agent reads, publishes, and nothing waits any more."""
    await until(lambda: plant.driver.idle and plant.driver.accepted)
    await until(lambda: "agent.started" in plant.happened)


async def test_a_healthy_agent_says_so(plant):
    """Device, unit, broker, delivery and buffer, each as it is, and nothing to complain about."""
    async with plant.running():
        await settled(plant)
        await plant.count(5)
        await until(lambda: "production.count" in plant.happened)
        status = await ask(plant, lambda desk: desk.status())
    assert (status.health, status.problems, status.agent) == ("ok", [], "gw1")
    device = status.devices["plc1"]
    assert (device.driver, device.up, device.ready, device.error) == ("modbus", True, True, None)
    assert device.last_good == iso(at(1))
    assert status.units == {"filler": "ok"}
    assert {(link.kind, link.up) for link in status.links} == {("mqtt", True), ("device", True)}
    assert status.delivery.sent >= 3
    assert status.delivery.wait_p50 is not None
    assert {stream.stream for stream in status.buffer.streams} >= {"filler", "_agent/gw1"}
    assert not (plant.folder / "buffer" / "gw1.sock").exists()


async def test_what_is_wrong_is_said_in_words(plant):
    """A missing PLC and a missing broker make the agent degraded, each with its reason."""
    plant.plc_there = plant.broker_there = False
    async with plant.running():
        await until((plant.folder / "buffer" / "gw1.sock").exists)
        status = await ask_until(
            plant,
            lambda desk: desk.status(),
            lambda status: "PLC away" in str(status.problems) and "broker away" in str(status.problems),
        )
    assert status.health == "degraded"
    assert any("broker away" in problem for problem in status.problems)
    assert any(problem.startswith("device plc1: PLC away") for problem in status.problems)


async def test_failpoints_are_a_problem_that_the_status_names(plant, monkeypatch):
    """An agent that fails on request is never called healthy, whatever else is in order; without the variable nothing is said."""
    monkeypatch.setattr(failpoint, "_asked", [])
    monkeypatch.setattr(failpoint, "_kills", {})
    assert failpoint.warning() is None
    failpoint.install({failpoint.VARIABLE: "after_commit:1000000"})
    async with plant.running():
        await settled(plant)
        status = await ask(plant, lambda desk: desk.status())
    assert status.health == "degraded"
    assert [problem for problem in status.problems if "EDGE_AGENT_FAILPOINT=after_commit:1000000" in problem]


async def test_a_resend_by_the_socket_is_sent_at_once(plant):
    """Delivered records go out again under their names, flagged, without a restart or a reconnect."""
    async with plant.running():
        await settled(plant)
        await plant.count(5)
        await until(lambda: "production.count" in plant.happened)
        again = ResendWish("_agent/gw1", 1)
        answer = await ask_until(plant, lambda desk: desk.resend(again), lambda answer: answer.resent)
        await until(lambda: any(record.resent for record in plant.sink.seen))
        first = next(record for record in plant.sink.seen if record.resent)
    assert first.key == RecordKey("_agent/gw1", answer.epoch, 1)


async def test_the_agent_runs_without_its_socket(plant):
    """A place that cannot be bound is logged, and everything else is as ever."""
    (plant.folder / "buffer" / "gw1.sock").mkdir(parents=True)
    with capture_logs() as logs:
        async with plant.running():
            await settled(plant)
    assert [line["log_level"] for line in logs if line["event"] == "status.not_served"] == ["error"]
    assert "offline" in plant.happened


async def test_a_killed_agent_leaves_no_socket_that_answers(plant):
    """After the end nobody answers, and the next start is there again."""
    async with plant.running():
        await settled(plant)
    with pytest.raises(NoAgentError):
        await ask(plant, lambda desk: desk.status())
    plant.happened.clear()
    async with plant.running():
        await settled(plant)
        assert (await ask(plant, lambda desk: desk.status())).health == "ok"


async def test_the_store_tells_its_events_without_the_agent(plant):
    """What a dead agent left is exported from its store alone, byte for byte as it was published."""
    plant.broker_there = False
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(5)
    async with open_buffer(BufferConfig(path=plant.folder / "buffer", min_free=0), as_found=True) as buffer:
        envelope = await stored(buffer)
        assert envelope == configured(plant.config)
        desk = BufferDesk(buffer, "mqtt", Path("b"), envelope)
        lines = b"".join([piece async for piece in desk.export(Wanted())])
        encoder = envelope.encoder()
        expected = [encoder.encode(record).payload for record in await buffer.peek("mqtt", None, 1000, "E")]
    assert expected
    assert lines.splitlines()[: len(expected)] == expected


async def test_streams_that_left_the_configuration_are_remembered(plant, monkeypatch):
    """A unit that was taken out of the configuration can still be delivered and exported: its stream is known for ever."""
    buffer = MemoryBuffer()
    before = await keep(buffer, configured(plant.config), 1)
    monkeypatch.setitem(CONFIG, "units", [CONFIG["units"][0] | {"unit": "capper"}])
    after = await keep(buffer, configured(plant.config), 2)
    assert after.streams.keys() == before.streams.keys() | {"capper", "capper/telemetry"}
    assert await stored(buffer) == after
    appends = buffer.appends
    assert await keep(buffer, configured(plant.config), 3) == after
    assert buffer.appends == appends


async def test_a_desk_knows_what_it_cannot_export():
    """Without the envelope of every stream nothing is exported, rather than a part."""
    buffer = MemoryBuffer()
    await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
    for envelope in (None, Envelope(None, {})):  # type: ignore[arg-type]
        desk = BufferDesk(buffer, "mqtt", Path("b"), envelope)
        with pytest.raises(EdgeAgentError, match="does not tell how filler are published; name the configuration"):
            await anext(desk.export(Wanted()))


async def test_figures_come_while_the_store_is_out_of_order(monkeypatch):
    """A store in trouble still has a report, without streams; a healthy one that cannot be read is an error."""
    buffer = MemoryBuffer()

    async def unreadable():
        raise StorageError("closed")

    monkeypatch.setattr(buffer, "levels", unreadable)
    desk = BufferDesk(buffer, "mqtt", Path("b"), None)
    with pytest.raises(StorageError):
        await desk.buffer()
    stats = await buffer.stats()

    async def sick():
        return type(stats)(1, 0, None, 0, 0, healthy=False, detail="IOError: fsync")

    monkeypatch.setattr(buffer, "stats", sick)
    report = await desk.buffer()
    assert (report.healthy, report.detail, report.streams) == (False, "IOError: fsync", [])


async def test_a_resend_tells_what_is_kept_and_what_waits():
    """Numbers asked for are told apart: sent again, waiting anyway."""
    buffer = MemoryBuffer()
    await buffer.append([Entry("filler", "E", "edgeagent.x.v1", n, n, b"{}") for n in range(1, 11)], None)
    await buffer.settle("mqtt", [RecordKey("filler", buffer.epoch, n) for n in range(1, 7)], [])
    called: list[int] = []
    desk = BufferDesk(buffer, "mqtt", Path("b"), None, lambda: called.append(1))
    answer = await desk.resend(ResendWish("filler", 4, 8))
    assert (answer.resent, answer.waiting, answer.not_kept, called) == (3, 2, 0, [1])
    answer = await desk.resend(ResendWish("filler", 7, 99))
    assert (answer.from_seq, answer.to_seq, answer.resent, answer.waiting, called) == (7, 10, 0, 4, [1])


def test_a_store_that_drops_records_is_a_problem() -> None:
    """Who looks after a gateway learns that its store is full from the status, not from the gaps at the consumer."""
    report = BufferReport("b", "e", True, "", 9, 0, None, 1, 0, [], dropped=12_345, full=True)
    (said,) = _problems({}, {}, [], report)
    assert "full; 12,345 undelivered records were dropped" in said
    assert list(_problems({}, {}, [], msgspec.structs.replace(report, full=False))) == []
    assert any("12,345 undelivered records" in line for line in buffer_lines(report))


@pytest.mark.parametrize(
    ("up", "waited", "silent", "named"), [(True, 31, 31, True), (True, 5, 31, False), (True, 31, 5, False), (False, 31, 31, False)]
)
def test_a_broker_that_takes_connections_and_acknowledges_nothing_is_a_problem(
    up: bool, waited: int, silent: int, named: bool
) -> None:
    """Its connections come up again and again: only that old records wait and nothing is acknowledged shows it."""
    now = 1_800_000_000 * 10**9
    report = BufferReport("b", "e", True, "", 344, 1, iso(now - waited * 10**9), 1, 0, [])
    links = [LinkReport("mqtt://b", "mqtt", up, None, 2), LinkReport("plc1", "device", True, None, 1)]
    said = _unheard(links, report, now, time.monotonic() - silent)
    assert said == (["mqtt://b: connected, but nothing was acknowledged for 31 s; 345 records wait"] if named else [])
    assert _unheard(links, msgspec.structs.replace(report, oldest=None), now, time.monotonic() - silent) == []
