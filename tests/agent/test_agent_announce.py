"""The retained documents of an agent, asked for from several sides at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest
from agent_bench import FakeSink, ManualClock, fold, scan, turns, unit_of, until

from edge_agent.agent.announce import Announcer
from edge_agent.agent.origin import read
from edge_agent.agent.unit import Unit
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.model.equipment import EquipmentPath
from edge_agent.publish.topics import Topics

TOPICS = Topics("edge", ("acme", "plant1"), "gw1")


class SlowHeads(MemoryBuffer):
    """A store some of whose answers are late on their way."""

    def __init__(self, late: set[int]) -> None:
        """Keep the answers with the numbers ``late`` back until `come`."""
        super().__init__()
        self._late, self._asked, self.come = late, 0, asyncio.Event()

    async def heads(self) -> Mapping[str, tuple[int, int, int]]:
        """Return what is true now, now or later."""
        found = await super().heads()
        self._asked += 1
        if self._asked in self._late:
            await self.come.wait()
        return found


async def counted(unit: Unit, clock: ManualClock, register: int) -> None:
    """Let the unit commit one sample."""
    clock.advance(1)
    delivering = asyncio.create_task(unit.deliver(scan((clock.now() - ManualClock().now()) / 1e9, register)))
    await until(lambda: unit.picture.counters and unit.picture.counters["total"].raw == register)
    delivering.cancel()


async def delivered(buffer: MemoryBuffer) -> None:
    """Let everything be delivered that waits."""
    await buffer.settle("mqtt", [record.key for record in await buffer.peek("mqtt", None, 100, "E")], [])


@pytest.mark.parametrize("late", [set(), {1}, {1, 2, 3}, {1, 4}], ids=["none", "first", "all", "first_and_newest"])
async def test_a_base_never_holds_more_than_was_delivered_whoever_else_asks(late: set[int]) -> None:
    """A checkpoint that is asked for while another one is in the making neither fails nor names a state whose events still wait."""
    buffer, clock, sink = SlowHeads(late), ManualClock(), FakeSink(by_itself=True)
    unit = unit_of(buffer, clock)
    await unit.open()
    running = asyncio.create_task(unit.run())
    announcer = Announcer(buffer, clock, TOPICS, {EquipmentPath(("acme", "filler")): unit}, [], "session")
    await counted(unit, clock, 100)
    await counted(unit, clock, 107)
    await delivered(buffer)
    asked = [asyncio.create_task(announcer.checkpoints(sink)) for _ in range(2)]
    await turns()
    await counted(unit, clock, 112)  # made, not delivered
    asked.append(asyncio.create_task(announcer.checkpoints(sink)))
    await turns()
    buffer.come.set()
    await asyncio.gather(*asked)
    running.cancel()
    await asyncio.wait([running])
    checkpoints = [read(document.payload) for document in sink.documents if document.topic == TOPICS.checkpoint("filler")]
    assert len(checkpoints) == 3
    for one in checkpoints:
        assert one.resume is not None
        picture = fold().start(one.resume.unpack())[0].picture
        assert picture.counters["total"].total == 7
    assert msgspec.json.decode(sink.documents[-1].payload)["totals"] == {"total": 12}
