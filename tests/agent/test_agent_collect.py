"""From one endpoint to its units: accepted when everybody has committed, a loss told once, one last poll at the stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from agent_bench import FakeDriver, ManualClock, at, others, scan, turns, until
from structlog.testing import capture_logs

from edge_agent.agent import collect
from edge_agent.agent.collect import Collector
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.event import Acknowledge
from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Quality, Tag


class Reader:
    """A unit as the collector sees it: takes batches, and commits them when the test says so."""

    def __init__(self, *, by_itself: bool = True) -> None:
        self.batches: list[Batch] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.by_itself = by_itself

    async def deliver(self, batch: Batch) -> None:
        """Take a batch; return when it is committed."""
        self.batches.append(batch)
        if not self.by_itself:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await self.waiting[-1]

    def commit(self) -> None:
        """Commit everything taken so far."""
        for future in self.waiting:
            future.set_result(None)
        self.waiting.clear()

    @property
    def times(self) -> list[int]:
        """When the batches were received."""
        return [batch.received for batch in self.batches]


def collector_of(*readers: Reader, devices: Sequence[str] = ("plc1",), clock: ManualClock | None = None) -> Collector:
    """Return a collector whose devices are all read by ``readers``."""
    return Collector(devices, {name: [reader.deliver for reader in readers] for name in devices}, clock or ManualClock())


@asynccontextmanager
async def collecting(collector: Collector, driver: FakeDriver) -> AsyncIterator[asyncio.Task[None]]:
    """Collect until the test is done; then nothing may be left running."""
    task = asyncio.create_task(collector.run(driver))
    await until(lambda: collector.connected)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await turns()
        assert not others()


async def test_a_batch_is_accepted_when_every_reader_has_committed():
    """Calling read() again is the acceptance: it does not happen while one of two units has not committed."""
    first, second, driver = Reader(by_itself=False), Reader(by_itself=False), FakeDriver()
    async with collecting(collector_of(first, second), driver):
        batch = scan(0, 7)
        driver.put(batch)
        await until(lambda: first.waiting and second.waiting)
        await turns()
        assert driver.accepted == []
        first.commit()
        await turns()
        assert driver.accepted == []
        second.commit()
        await until(lambda: driver.accepted == [batch])


async def test_what_arrives_meanwhile_waits_in_the_driver():
    """While a commit is under way nothing more is taken: the driver's bounded queue is the only one."""
    reader, driver = Reader(by_itself=False), FakeDriver()
    async with collecting(collector_of(reader), driver):
        driver.put(scan(0, 1))
        await until(lambda: reader.waiting)
        driver.put(scan(1, 2), scan(2, 3))
        await turns()
        assert reader.times == [at(0)]
        reader.commit()
        await until(lambda: len(reader.waiting) == 2)
        assert reader.times == [at(0), at(1), at(2)]
        reader.commit()


async def test_each_device_goes_to_its_own_readers_in_order():
    """Two devices behind one endpoint: every unit gets what it reads, in the order in which it was read."""
    tags = {"plc1": (Tag("plc1", "count"),), "meter": (Tag("meter", "energy"),)}
    driver, filler, energy = FakeDriver(tags), Reader(), Reader()
    readers = {"plc1": [filler.deliver], "meter": [filler.deliver, energy.deliver]}
    async with collecting(Collector(["plc1", "meter"], readers, ManualClock()), driver):
        driver.put(*(Batch(name, at(t)) for t, name in enumerate(("plc1", "meter", "plc1", "meter"))))
        await until(lambda: len(filler.batches) == 4)
    assert [(batch.device, batch.received) for batch in filler.batches] == [
        ("plc1", at(0)),
        ("meter", at(1)),
        ("plc1", at(2)),
        ("meter", at(3)),
    ]
    assert energy.times == [at(1), at(3)]


async def test_a_lost_endpoint_ends_the_run_after_what_it_had_delivered():
    """What was received before the loss is delivered, then the link gets the error."""
    reader, driver = Reader(), FakeDriver()
    async with collecting(collector := collector_of(reader), driver) as task:
        driver.put(scan(0, 1))
        driver.lose("reset by peer")
        with pytest.raises(DisconnectedError, match="reset by peer"):
            await asyncio.wait_for(task, 5)
    assert reader.times == [at(0)]
    assert not collector.connected


async def test_a_loss_is_told_once_and_not_at_every_try():
    """Three tries in vain are one DeviceDown with the time of the last good sample; after a return the next loss is told again."""
    reader, clock = Reader(), ManualClock(0)
    collector = collector_of(reader, clock=clock)
    driver = FakeDriver()
    async with collecting(collector, driver):
        driver.put(scan(1, 5, up=True), scan(2, None, quality=Quality.BAD))
        await until(lambda: len(reader.batches) == 2)
    clock.advance(9)
    for reason in ("cut", "no answer", "no answer"):
        await collector.lost(DisconnectedError(reason))
        clock.advance(1)
    assert _downs(reader) == [DeviceDown("plc1", at(9), at(2), "cut")]  # the order tag was good at 2
    assert (collector.devices["plc1"].up, collector.devices["plc1"].error) == (False, "no answer")
    async with collecting(collector, back := FakeDriver()):
        back.put(scan(20, 9, up=True))
        await until(lambda: collector.devices["plc1"].up)
        assert collector.devices["plc1"].error == ""
    await collector.lost(DisconnectedError("cut again"))
    assert _downs(reader)[1:] == [DeviceDown("plc1", at(12), at(20), "cut again")]


def _downs(reader: Reader) -> list[DeviceDown]:
    return [notice for batch in reader.batches for notice in batch.before if isinstance(notice, DeviceDown)]


async def test_a_device_that_was_never_seen_is_down_from_the_first_try():
    """Every device of an endpoint that does not answer at start is told once, without a last good sample."""
    reader = Reader()
    collector = collector_of(reader, devices=["plc1", "plc2"])
    for _ in range(5):
        await collector.lost(DisconnectedError("no route"))
    assert _downs(reader) == [DeviceDown(name, at(0), None, "no route") for name in ("plc1", "plc2")]


async def test_a_silent_unit_behind_a_living_endpoint_is_not_told_twice():
    """When the driver itself has told that a device is down, the loss of its endpoint says nothing new about it."""
    reader, driver = Reader(), FakeDriver()
    async with collecting(collector := collector_of(reader), driver):
        driver.put(scan(0, 1, up=True), Batch("plc1", at(3), before=(DeviceDown("plc1", at(3), at(0), "silent"),)))
        await until(lambda: len(reader.batches) == 2)
        assert collector.devices["plc1"].error == "silent"
    await collector.lost(DisconnectedError("endpoint lost"))
    assert len(reader.batches) == 2


async def test_a_loss_is_committed_before_the_next_try():
    """The link may not reconnect before the units know of the loss: the first new sample would look like the next one."""
    reader = Reader(by_itself=False)
    lost = asyncio.create_task(collector_of(reader).lost(DisconnectedError("cut")))
    await until(lambda: reader.waiting)
    await turns()
    assert not lost.done()
    reader.commit()
    await asyncio.wait_for(lost, 5)


async def test_a_stop_takes_one_last_poll_and_returns():
    """The last reading is asked for at the moment of the stop and delivered before the run returns."""
    reader, clock, driver = Reader(), ManualClock(60), FakeDriver()
    driver.on_poll = lambda _: driver.put(scan(60, 42))
    async with collecting(collector := collector_of(reader, clock=clock), driver) as task:
        driver.put(scan(59, 41))
        await until(lambda: reader.batches)
        collector.stop()
        await asyncio.wait_for(task, 5)
    assert driver.polls == [at(60)]
    assert reader.times == [at(59), at(60)]
    assert not collector.connected


async def test_a_stop_waits_for_every_device_and_for_what_is_being_committed():
    """An older batch of the same device is not the last poll, and a unit that has not committed is waited for."""
    tags = {"plc1": (Tag("plc1", "count"),), "meter": (Tag("meter", "energy"),)}
    reader, clock, driver = Reader(by_itself=False), ManualClock(60), FakeDriver(tags)
    async with collecting(collector := collector_of(reader, devices=["plc1", "meter"], clock=clock), driver) as task:
        driver.put(Batch("plc1", at(58)))
        await until(lambda: reader.waiting)
        collector.stop()
        await turns()
        assert driver.polls == []  # first what is under way
        reader.commit()
        await until(lambda: driver.polls == [at(60)])
        for batch in (Batch("plc1", at(59)), Batch("plc1", at(60)), Batch("meter", at(60))):
            assert not task.done()
            driver.put(batch)
            await until(lambda: reader.waiting)
            reader.commit()
        await asyncio.wait_for(task, 5)
    assert reader.times == [at(58), at(59), at(60), at(60)]


async def test_a_device_that_does_not_answer_the_last_poll_delays_the_stop_a_moment_only(monkeypatch):
    """The run returns after the time that a last poll gets."""
    monkeypatch.setattr(collect, "_LAST_POLL", 0.05)
    driver = FakeDriver()
    async with collecting(collector := collector_of(Reader()), driver) as task:
        collector.stop()
        await asyncio.wait_for(task, 5)
    assert driver.polls == [at(0)]


async def test_an_endpoint_that_is_lost_at_the_stop_is_no_loss():
    """A connection that breaks during the last poll ends the run like an answer."""
    driver = FakeDriver()
    driver.on_poll = lambda _: driver.lose()
    async with collecting(collector := collector_of(Reader()), driver) as task:
        collector.stop()
        await asyncio.wait_for(task, 5)


async def test_what_a_cancelled_run_had_taken_is_not_accepted():
    """Cancelled while units commit: read() is not called again, so the protocol will bring it once more."""
    reader, driver = Reader(by_itself=False), FakeDriver()
    async with collecting(collector_of(reader), driver):
        driver.put(scan(0, 1))
        await until(lambda: reader.waiting)
    assert driver.accepted == []


async def test_an_acknowledgement_is_written_while_the_device_is_there():
    """The tag's device part is the collector's, the rest is the driver's; away, lost or refused it does no harm."""
    driver, collector = FakeDriver(), collector_of(Reader())
    effect = Acknowledge("plc1.rec_ack", 17)
    await collector.acknowledge(effect)  # away: the PLC shows the record again
    async with collecting(collector, driver):
        await collector.acknowledge(effect)
        with capture_logs() as logs:
            driver.refuses = DisconnectedError("cut")
            await collector.acknowledge(effect)
            driver.refuses = PermissionError("rec_ack is not allow-listed")
            await collector.acknowledge(effect)
    assert driver.written == [("plc1", "rec_ack", 17)]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("acknowledge.lost", "info"),
        ("acknowledge.refused", "error"),
    ]


async def test_calendar_polls_reach_every_driver_until_their_time_has_come():
    """A shift boundary is handed over hours ahead: a driver that was opened anew in between reads there too; what has passed is not asked."""
    clock = ManualClock()
    driver, reopened, later, collector = FakeDriver(), FakeDriver(), FakeDriver(), collector_of(Reader(), clock=clock)
    collector.poll_at(at(100))
    async with collecting(collector, driver):
        assert driver.polls == [at(100)]
        collector.poll_at(at(200))
    async with collecting(collector, reopened):
        assert reopened.polls == [at(200)]
    clock.advance(200)
    async with collecting(collector, later):
        assert not later.polls
    assert driver.polls == [at(100), at(200)]


async def test_a_device_is_ready_once_rows_of_it_are_committed():
    """A baseline is in custody before readiness is told: the demo's plant starts on that word."""
    reader, driver = Reader(by_itself=False), FakeDriver()
    async with collecting(collector := collector_of(reader), driver):
        driver.put(Batch("plc1", at(0), before=(DeviceUp("plc1", at(0)),)))
        await until(lambda: reader.waiting)
        reader.commit()
        driver.put(scan(1, 5))
        await until(lambda: reader.waiting)
        assert (collector.devices["plc1"].up, collector.devices["plc1"].ready) == (True, False)
        reader.commit()
        await until(lambda: collector.devices["plc1"].ready)
