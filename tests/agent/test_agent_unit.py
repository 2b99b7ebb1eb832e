"""One task per unit: fold, append once, release; what a restart, a failing store and a stop do to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent_bench import (
    FILLER,
    PLC1,
    T0,
    ManualClock,
    at,
    body,
    fold,
    others,
    scan,
    short,
    stored,
    turns,
    unit_of,
    until,
)
from structlog.testing import capture_logs

from edge_agent.agent import unit as unit_module
from edge_agent.agent.unit import Unit
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.events.catalog import fold_of
from edge_agent.events.derive import SETTLE, Fold, Tick, Turn, UnitState
from edge_agent.model.errors import StorageError
from edge_agent.model.instant import iso
from edge_agent.model.reading import AgentDown, Batch, DeviceDown, DeviceUp
from edge_agent.model.stream import Checkpoint, Custody, Entry
from edge_agent.ports import Buffer, PlantClock


class GatedBuffer(MemoryBuffer):
    """A buffer whose commits the test lets through, one permit each, or lets fail."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = asyncio.Semaphore(0)
        self.asked: list[tuple[list[Entry], Checkpoint | None]] = []
        self.fails = 0

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Commit when permitted."""
        self.asked.append((list(events), checkpoint))
        await self.permits.acquire()
        if self.fails:
            self.fails -= 1
            raise StorageError("the disk is on fire")
        return await super().append(events, checkpoint)


class WatchedFold(Fold):
    """The real fold of the small unit, with a note of what it was given."""

    def __init__(self) -> None:
        self.inputs: list[Batch | Tick] = []
        self.__dict__ |= fold().__dict__

    def fold(self, state: UnitState, inputs: Sequence[Batch | Tick]) -> Turn:
        """Note and fold."""
        self.inputs += inputs
        return super().fold(state, inputs)


@asynccontextmanager
async def running(buffer: Buffer, clock: PlantClock, *, folding: Fold | None = None) -> AsyncIterator[Unit]:
    """Run the small unit; at the end kill it: nothing is folded or committed on the way out."""
    unit = unit_of(buffer, clock, folding=folding)
    await unit.open()
    task = asyncio.create_task(unit.run())
    try:
        yield unit
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await turns()
        assert not others()


def told(entries: list[Entry]) -> list[str]:
    """Return the types of events."""
    return [short(entry) for entry in entries]


def deltas(entries: list[Entry]) -> list[int]:
    """Return what was counted."""
    return [body(entry)["delta"] for entry in entries if short(entry) == "production.count"]


# -- one turn ----------------------------------------------------------------------------------------------------------


async def test_a_delivery_returns_when_its_events_are_in_custody(buffer):
    """After the await the count is in the buffer, in the unit's stream."""
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(scan(0, 100, up=True))
        await unit.deliver(scan(1, 107))
        counts = [entry for entry in await stored(buffer) if short(entry) == "production.count"]
    assert deltas(counts) == [7]
    assert (counts[0].stream, counts[0].time, body(counts[0])["ctx"]["order"]) == ("filler", at(1), "WO-1")


async def test_a_batch_is_not_released_before_its_commit():
    """While the append is under way, the delivery waits: the acceptance that follows would be a lie."""
    buffer = GatedBuffer()
    async with running(buffer, ManualClock()) as unit:
        delivery = asyncio.create_task(unit.deliver(scan(0, 100, up=True)))
        await until(lambda: buffer.asked)
        await turns()
        assert not delivery.done()
        buffer.permits.release()
        await asyncio.wait_for(delivery, 5)


async def test_events_and_the_state_they_came_from_are_one_append():
    """The append that carries a count carries the counter's new baseline, and there is no second one."""
    buffer = GatedBuffer()
    buffer.permits = asyncio.Semaphore(1000)
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(scan(0, 100, up=True))
        buffer.asked.clear()
        await unit.deliver(scan(1, 107))
    ((events, checkpoint),) = buffer.asked
    assert deltas(events) == [7]
    assert checkpoint is not None
    assert (checkpoint.owner, checkpoint.last_seen) == ("filler", T0 - SETTLE)  # what was read just now may have company under way
    assert {"counters.total", "picture"} <= checkpoint.states.keys()
    state, _ = fold().start(checkpoint.states)
    assert state.picture.counters["total"].raw == 107


async def test_everything_that_waits_is_one_turn():
    """Batches that arrive during a commit are folded together and appended once."""
    buffer = GatedBuffer()
    async with running(buffer, ManualClock()) as unit:
        first = asyncio.create_task(unit.deliver(scan(0, 100, up=True)))
        await until(lambda: len(buffer.asked) == 1)
        rest = [asyncio.create_task(unit.deliver(scan(second, 100 + second))) for second in (1, 2, 3)]
        await turns()
        assert len(buffer.asked) == 1
        buffer.permits.release()
        await first
        await until(lambda: len(buffer.asked) == 2)
        buffer.permits.release()
        await asyncio.gather(*rest)
    assert deltas(buffer.asked[1][0]) == [1, 1, 1]


async def test_a_turn_without_news_commits_nothing(buffer):
    """A machine that stands costs no write: the same values again are released at once."""
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(scan(0, 100, up=True))
        await unit.deliver(scan(1, 100))  # the snapshot of the start
        before = (await buffer.stats()).commits
        for second in range(2, 7):
            await unit.deliver(scan(second, 100))
        assert (await buffer.stats()).commits == before


async def test_the_time_of_the_last_life_is_stored_now_and_then(buffer, monkeypatch):
    """Without any news the heartbeat stores when the unit was last seen, which bounds the gap after a crash."""
    monkeypatch.setattr(unit_module, "_HEARTBEAT", -1.0)
    clock = ManualClock()
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(0, 100, up=True))
        clock.advance(7)
        await unit.deliver(scan(7, 100))
    assert (await buffer.states("filler"))[1] == at(7) - SETTLE


async def test_a_store_that_fails_gets_the_same_entries_again(monkeypatch):
    """Nothing of a failed append was accepted, so the very same is appended again, and only then is the batch released."""
    monkeypatch.setattr(unit_module, "_RETRY", 0.001)
    buffer = GatedBuffer()
    buffer.permits, buffer.fails = asyncio.Semaphore(1000), 3
    with capture_logs() as logs:
        async with running(buffer, ManualClock()) as unit:
            await unit.deliver(Batch("plc1", at(0), [0], [5], [0], [0], [0], before=(DeviceUp("plc1", at(0)),)))
    assert len(buffer.asked) == 4
    assert all(asked == buffer.asked[0] for asked in buffer.asked)
    failures = [line for line in logs if line["event"] == "unit.not_stored"]
    assert [(line["reason"], line["log_level"]) for line in failures] == [("the disk is on fire", "error")] * 3


# -- restarts ----------------------------------------------------------------------------------------------------------


async def test_after_a_clean_stop_the_absence_begins_with_the_stop():
    """The last turn has seen everything: nothing is declared for the time before it."""
    buffer, clock = MemoryBuffer(), ManualClock(0)
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(0, 100, up=True))
        clock.advance(7)
        await unit.close()
    _, last_seen = await buffer.states("filler")
    assert last_seen == at(7)


async def test_the_first_input_after_a_restart_is_the_absence(buffer):
    """The agent's absence comes before whatever the devices deliver, from what the last commit surely knew until now; a new store has none."""
    clock, first, second = ManualClock(0), WatchedFold(), WatchedFold()
    async with running(buffer, clock, folding=first) as unit:
        await unit.deliver(scan(0, 100, up=True))
        assert not any(
            isinstance(notice, AgentDown) for thing in first.inputs if isinstance(thing, Batch) for notice in thing.before
        )
    clock.advance(60)
    unit = unit_of(buffer, clock, folding=second)
    await unit.open()
    delivery = asyncio.create_task(unit.deliver(scan(60, 130, up=True)))
    await turns()
    await unit.close()
    await delivery
    batches = [thing for thing in second.inputs if isinstance(thing, Batch)]
    assert batches[0].before == (AgentDown(at(0) - SETTLE, at(60)),)
    assert [batch.device for batch in batches] == ["", "plc1"]


async def test_parts_made_during_an_absence_are_counted_once_and_flagged(buffer):
    """Killed and started again: the difference over the absence is one recovered count, and the gap says so."""
    clock = ManualClock(0)
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(0, 65_530, up=True))
        await unit.deliver(scan(1, 65_534))
    clock.advance(30)
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(30, 20, up=True))
    entries = await stored(buffer)
    counts = [body(entry) for entry in entries if short(entry) == "production.count"]
    assert [(count["delta"], count["derivation"], count["total"]) for count in counts] == [
        (4, "observed", 4),
        (22, "recovered", 26),
    ]
    (gap,) = [body(entry) for entry in entries if short(entry) == "collection.gap"]
    assert (gap["reason"], gap["recovered"]) == ("agent_down", {"total": 22})


async def test_a_kill_before_the_commit_derives_the_same_once_more():
    """What was folded and never committed is folded again from the stored baseline: the same count, once."""
    buffer, clock = GatedBuffer(), ManualClock()
    async with running(buffer, clock) as unit:
        buffer.permits.release()
        await unit.deliver(scan(0, 100, up=True))
        delivery = asyncio.create_task(unit.deliver(scan(1, 107)))
        await until(lambda: len(buffer.asked) == 2)
        delivery.cancel()
    buffer.permits = asyncio.Semaphore(1000)
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(1, 107, up=True))
    assert deltas(await stored(buffer)) == [7]


async def test_a_clock_that_was_set_back_during_the_absence_gives_no_backward_interval(buffer):
    """When the new start lies before the last-seen time, the absence is empty, not negative."""
    async with running(buffer, ManualClock(100)) as unit:
        await unit.deliver(scan(100, 5, up=True))
    again = WatchedFold()
    async with running(buffer, ManualClock(40), folding=again):
        await until(lambda: again.inputs)
    assert isinstance(again.inputs[0], Batch)
    assert again.inputs[0].before == (AgentDown(at(40), at(40)),)


async def test_a_counter_whose_meaning_changed_takes_a_new_baseline(buffer):
    """Another role is another counter: the old state is dropped with a word in the log, and nothing is counted across."""
    async with running(buffer, ManualClock()) as unit:
        await unit.deliver(scan(0, 100, up=True))
    counters = {"total": FILLER.counters["total"].model_copy(update={"role": "good"})}
    other = fold_of(FILLER.model_copy(update={"counters": counters}), devices=PLC1)
    with capture_logs() as logs:
        async with running(buffer, ManualClock(60), folding=other) as unit:
            await unit.deliver(scan(60, 5000, up=True))
    assert [line["rule"] for line in logs if line["event"] == "rule.state_dropped"] == ["counters.total"]
    assert deltas(await stored(buffer)) == []


# -- ticks and the end -------------------------------------------------------------------------------------------------


def ticks_of(folding: WatchedFold) -> list[float]:
    """Return the t of the ticks that were folded."""
    return [(thing.time - T0) / 1e9 for thing in folding.inputs if isinstance(thing, Tick)]


async def test_a_tick_each_second_and_only_one_after_a_pause(buffer):
    """Each whole second is ticked as it passes; a pause of the process is one tick, not a thousand."""
    clock, watched = ManualClock(0.25), WatchedFold()
    async with running(buffer, clock, folding=watched):
        for expected in ([1.0], [1.0, 2.0]):
            clock.advance(1)
            await until(lambda expected=expected: ticks_of(watched) == expected)
        clock.advance(1000)
        await until(lambda: ticks_of(watched) == [1.0, 2.0, 1002.0])
        await turns()
    assert ticks_of(watched) == [1.0, 2.0, 1002.0]


class Grid(WatchedFold):
    """A fold whose energy closes every ``period`` seconds."""

    def __init__(self, period: float) -> None:
        super().__init__()
        self._grids = (round(period * 1e9),)


async def test_a_pause_ticks_every_boundary_it_slept_over(buffer):
    """Each declared boundary is ticked at its own time, in order, then the newest second."""
    clock, grid = ManualClock(0), Grid(60)
    async with running(buffer, clock, folding=grid):
        clock.advance(185.5)
        await until(lambda: len(ticks_of(grid)) >= 4)
    assert ticks_of(grid) == [60.0, 120.0, 180.0, 185.0]


async def test_boundaries_between_whole_seconds_are_ticked_too(buffer):
    """A grid of 1.5 s: boundaries and seconds alternate, and the unit goes on living."""
    clock, grid = ManualClock(0), Grid(1.5)
    async with running(buffer, clock, folding=grid):
        for expected in (None, 1.0, 1.5, 2.0, None, 3.0, None, 4.0, 4.5):
            clock.advance(0.5)
            await until(lambda expected=expected: expected in {None, *ticks_of(grid)[-1:]})
    assert ticks_of(grid) == [1.0, 1.5, 2.0, 3.0, 4.0, 4.5]


async def test_a_gateway_that_learns_the_year_does_not_tick_through_decades(buffer):
    """Started in 1970 without a clock of its own, then set by NTP: the unit goes on from now."""
    clock, grid = ManualClock(0), Grid(60)
    clock._now = 5_000_000_000
    async with running(buffer, clock, folding=grid):
        clock.advance((T0 - clock.now()) / 1e9)
        await until(lambda: ticks_of(grid))
    assert ticks_of(grid)[-1] == 0.0
    assert len(ticks_of(grid)) < 30_000


async def test_a_clock_that_is_set_back_does_not_stop_time_from_passing(buffer, monkeypatch):
    """Hours back on the wall clock: the unit ticks on in the new time at once."""
    monkeypatch.setattr(unit_module, "_LOOK_AGAIN", 0.01)
    clock, grid = ManualClock(0), Grid(60)
    async with running(buffer, clock, folding=grid):
        clock.advance(2)
        await until(lambda: ticks_of(grid))
        clock._now -= 7_200_000_000_000
        await until(lambda: ticks_of(grid)[-1] < 0)
        clock.advance(1)
        await until(lambda: ticks_of(grid)[-1] == -7197.0)


async def test_close_folds_what_waits_and_a_final_tick(buffer):
    """At the stop nothing that was delivered is left behind, and intervals close with a final tick."""
    clock, watched = ManualClock(0.5), WatchedFold()
    unit = unit_of(buffer, clock, folding=watched)
    await unit.open()
    task = asyncio.create_task(unit.run())
    await unit.deliver(scan(0, 100, up=True))
    unit.stop()
    await asyncio.wait_for(task, 5)
    late = asyncio.create_task(unit.deliver(scan(0.4, 105)))
    await turns()
    await unit.close()
    await asyncio.wait_for(late, 5)
    assert watched.inputs[-1] == Tick(at(0.5), final=True)
    assert deltas(await stored(buffer)) == [5]


async def test_a_lost_device_is_an_input_like_any_other(buffer):
    """DeviceDown and the return take the same road as data; what was made meanwhile is recovered."""
    clock = ManualClock()
    async with running(buffer, clock) as unit:
        await unit.deliver(scan(0, 10, up=True))
        await unit.deliver(Batch("plc1", at(3), before=(DeviceDown("plc1", at(3), at(0), "cut"),)))
        await unit.deliver(scan(9, 25, up=True))
    entries = await stored(buffer)
    (gap,) = [body(entry) for entry in entries if short(entry) == "collection.gap"]
    assert (gap["reason"], gap["interval"], gap["recovered"]) == ("comm_loss", [iso(at(0)), iso(at(9))], {"total": 15})
    assert deltas(entries) == [15]
