"""A rule with a bug: its unit is set aside and says so; batches do not pile up, other units go on, a restart loses no part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from agent_bench import PLC1, FakeDriver, ManualClock, at, body, fold, others, scan, short, stored, turns, unit_of, until
from structlog.testing import capture_logs

from edge_agent.agent.collect import Collector
from edge_agent.agent.unit import Unit
from edge_agent.events.derive import Fold
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase
from edge_agent.model.instant import iso


class Nothing(msgspec.Struct, frozen=True):
    """The state of a rule that remembers nothing."""


class BrokenRule:
    """A rule that fails on a count it does not like."""

    name, phase, tags, ticks, version, fingerprint, state_type = "broken", Phase.STATE, ("plc1.count",), False, 1, "", Nothing

    def initial(self) -> Nothing:
        """Nothing seen."""
        return Nothing()

    def step(self, state: Nothing, moment: Moment) -> tuple[Nothing, Outcome]:
        """Fail on 166."""
        if (reading := moment.readings.get("plc1.count")) is not None and reading.value == 166:
            raise ZeroDivisionError("166")
        return state, NOTHING


def broken_fold() -> Fold:
    """Return the fold of the small unit with the broken rule besides its own."""
    return Fold("filler", [*fold()._rules, BrokenRule()], PLC1)


@asynccontextmanager
async def collecting(*units: Unit) -> AsyncIterator[FakeDriver]:
    """Run ``units`` on one device, behind one collector."""
    driver = FakeDriver()
    collector = Collector(["plc1"], {"plc1": [unit.deliver for unit in units]}, ManualClock())
    for unit in units:
        await unit.open()
    tasks = [asyncio.create_task(work) for work in (*(unit.run() for unit in units), collector.run(driver))]
    try:
        yield driver
        for task in tasks:
            assert not task.done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await turns()
        assert not others()


async def test_a_broken_rule_stops_its_unit_only(buffer):
    """The unit beside it counts on, from the same batches; the quarantined one releases them, so nothing stands still."""
    broken = unit_of(buffer, ManualClock(), folding=broken_fold())
    healthy = unit_of(buffer, ManualClock(), name="packer")
    async with collecting(broken, healthy) as driver:
        for second, value in enumerate((100, 110, 166, 170, 175)):
            driver.put(scan(second, value, up=second == 0))
            await until(lambda: driver.idle)
    assert _deltas(await stored(buffer, "filler")) == [10]
    assert _deltas(await stored(buffer, "packer")) == [10, 56, 4, 5]
    assert healthy.quarantined is None
    assert broken.quarantined is not None


def _deltas(entries) -> list[int]:
    return [body(entry)["delta"] for entry in entries if short(entry) == "production.count"]


async def test_a_quarantine_is_declared_in_stream_and_log(buffer):
    """The unit's stream says from when on nothing is known, the log has the rule and its traceback, the status the reason."""
    unit = unit_of(buffer, ManualClock(9), folding=broken_fold())
    with capture_logs() as logs:
        async with collecting(unit) as driver:
            driver.put(scan(8, 100, up=True), scan(9, 166))
            await until(lambda: unit.quarantined is not None)
            await until(lambda: driver.idle)
    (gap,) = [body(entry) for entry in await stored(buffer) if short(entry) == "collection.gap"]
    assert (gap["reason"], gap["interval"], gap["tags"], gap["lost"]) == ("rule_error", [iso(at(9)), None], ["*"], "unknown")
    assert "broken" in gap["error"]
    (line,) = [line for line in logs if line["log_level"] == "critical"]
    assert (line["event"], line["unit"], line["rule"]) == ("unit.quarantined", "filler", "broken")
    assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_after_the_rule_is_mended_the_unit_goes_on_from_its_baseline(buffer):
    """Nothing of the failed turn was kept: a restart with a good rule counts everything since the last commit, once."""
    clock = ManualClock(0)
    async with collecting(unit_of(buffer, clock, folding=broken_fold())) as driver:
        for second, value in enumerate((100, 110, 166)):
            driver.put(scan(second, value, up=second == 0))
            await until(lambda: driver.idle)
    clock.advance(60)
    async with collecting(unit_of(buffer, clock)) as driver:
        for second, value in enumerate((700, 701)):
            driver.put(scan(60 + second, value, up=second == 0))
            await until(lambda: driver.idle)
    entries = [body(entry) for entry in await stored(buffer) if short(entry) == "production.count"]
    assert [(entry["delta"], entry["derivation"]) for entry in entries] == [(10, "observed"), (590, "recovered"), (1, "observed")]


async def test_a_quarantined_unit_closes_like_any_other(buffer):
    """At the stop a quarantined unit folds nothing and releases everything."""
    unit = unit_of(buffer, ManualClock(), folding=broken_fold())
    async with collecting(unit) as driver:
        driver.put(scan(0, 166, up=True))
        await until(lambda: unit.quarantined is not None)
    last = asyncio.create_task(unit.deliver(scan(1, 700)))
    await turns()
    await unit.close()
    await asyncio.wait_for(last, 5)
    assert _deltas(await stored(buffer)) == []
