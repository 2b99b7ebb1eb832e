"""The order of one device, the counters of another: read before the change goes on."""

from __future__ import annotations

import asyncio

import pytest
from agent_bench import FakeDriver, ManualClock, turns, until

from edge_agent.agent.collect import Collector
from edge_agent.agent.threshold import Threshold
from edge_agent.model.reading import Batch


def order(t: int, name: str, *, quality: int = 0, historical: bool = False) -> Batch:
    """Return a batch of the device that names the order, tag 3."""
    return Batch("erp", t, [3], [name], [quality], [0], [0], historical=historical)


class Counters:
    """The endpoint with the counters: answers when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = asyncio.Event()

    async def read(self, within: float) -> None:
        """Read, which takes a while."""
        assert within > 0
        self.asked += 1
        await self.answered.wait()


async def test_a_change_waits_until_the_counters_were_read() -> None:
    """The units get the new order behind what was counted until it was seen; other batches behind it wait, too, so their order stays."""
    counters, said, driver = Counters(), [], FakeDriver({})

    async def deliver(batch: Batch) -> None:
        said.append(batch.values)

    collector = Collector(["erp"], {"erp": [deliver]}, ManualClock())
    collector.threshold = Threshold({"erp": {3: [counters.read]}}).cross
    task = asyncio.create_task(collector.run(driver))
    await until(lambda: collector.connected)
    driver.put(order(1, "A"))
    await until(lambda: said == [["A"]])
    driver.put(order(2, "B"), Batch("erp", 3, [0], [7], [0], [0], [0]))
    await until(lambda: counters.asked)
    await turns()
    assert said == [["A"]]
    counters.answered.set()
    await until(lambda: said == [["A"], ["B"], [7]])
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    ("batch", "asked"),
    [
        (order(2, "B"), 1), (order(2, "A"), 0), (order(2, "B", quality=2), 0), (order(2, "B", historical=True), 0),
        (Batch("erp", 2, [0], ["B"], [0], [0], [0]), 0), (Batch("plc", 2, [3], ["B"], [0], [0], [0]), 0),
    ],
    ids=["change", "same", "bad", "historical", "other tag", "other device"],
)  # fmt: skip
async def test_what_is_a_change(batch: Batch, asked: int) -> None:
    """Another good name of what is being made, told now; the first one is none."""
    counters = Counters()
    counters.answered.set()
    threshold = Threshold({"erp": {3: [counters.read]}})
    await threshold.cross([order(1, "A")])
    await threshold.cross([batch])
    assert counters.asked == asked


async def test_two_endpoints_that_change_at_once_do_not_wait_for_each_other() -> None:
    """The second goes on, or both would stand until their time is up."""
    counters = Counters()
    threshold = Threshold({"erp": {3: [counters.read]}, "plc": {0: [counters.read]}})
    await threshold.cross([order(1, "A"), Batch("plc", 1, [0], [1], [0], [0], [0])])
    first = asyncio.create_task(threshold.cross([order(2, "B")]))
    await until(lambda: counters.asked)
    async with asyncio.timeout(1):
        await threshold.cross([Batch("plc", 2, [0], [2], [0], [0], [0])])
    counters.answered.set()
    await first
