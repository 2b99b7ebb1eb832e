"""Plays what can happen to an agent, one step after the other, and judges what the consumer has in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agent_bench import ManualClock
from flaky_broker import Broker
from scripted_plc import Plc, PlcConnection
from whole_path import Life

from edge_agent.model.reading import Quality


class Step(NamedTuple):
    """One thing that happens, while ``parts`` are made in ``seconds``; ``order`` is what is made from then on (None: the same).

    ``arg`` says more: the kill point, the wrong count, how many connects fail, what happens to the broker.
    """

    what: str
    seconds: float = 1.0
    parts: int = 0
    order: str | None = None
    arg: Any = None


class Play:
    """One PLC, one broker, and one life of the agent after the other.

    ``hidden`` are parts (by their number) that were surely made out of sight: their count must be flagged. ``disturbed`` are the numbers at
    which something went wrong: a count that spans none of them must not be flagged.
    """

    def __init__(self, folder: Path, register: int, window: int, latencies: tuple[int, ...]) -> None:
        """Begin with ``register`` on the PLC's counter; the broker takes ``window`` records at once, acknowledged after ``latencies``."""
        self.clock = ManualClock()
        self.plc = Plc(self.clock, register)
        self.broker = Broker(window, latencies)
        self.hidden: list[int] = []
        self.disturbed: list[int] = []
        self.kills = 0
        self._folder = folder
        self.life: Life

    async def run(self, steps: Sequence[Step]) -> None:
        """Start, take a baseline, play ``steps``, let everything heal, and wait until all is delivered."""
        await self._start()
        try:
            await self._sample()
            for step in steps:
                await getattr(self, f"_{step.what}")(step)
            self.broker.there, lives = True, -1
            while lives != self.kills:  # a failpoint may strike during the last deliveries
                lives = self.kills
                await self._sample()
                await self._handed_over()
                await self._delivered()
        finally:
            await self.life.end()

    # -- the agent ---------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self.life = Life(self.plc, self.broker, self.clock, self._folder / "buffer", self._folder / "image")
        await self.life.start()

    async def _restart(self) -> None:
        """Begin the next life; what was in flight in the last one may not have been committed."""
        self.kills += 1
        self.disturbed.append(self.plc.made)
        await self.life.kill()
        await self._start()

    async def _quiet(self) -> PlcConnection:
        """Wait until every scan is committed and accepted, over as many lives as that takes; return the connection."""
        while True:
            if await self.life.until(lambda: self.plc.connection is not None and self.plc.connection.idle):
                assert self.plc.connection is not None
                return self.plc.connection
            await self._restart()

    async def _sample(self) -> None:
        """Scan until a good value of now has been committed."""
        lives = -1
        while lives != self.kills:
            connection, lives = await self._quiet(), self.kills
            connection.scan()
            await self._quiet()

    async def _handed_over(self) -> None:
        while not await self.life.until(lambda: self.plc.handed_over):
            await self._restart()
        await self._quiet()

    async def _delivered(self) -> None:
        """Wait until the buffer has nothing more to deliver."""
        clock = asyncio.get_running_loop().time
        end = clock() + 20
        while (stats := await self.life.store.stats()).waiting_events or self.life.dead:
            assert clock() < end, f"{stats.waiting_events} events are not delivered"
            if not await self.life.until(lambda: self.broker.connection is not None):
                await self._restart()
            await asyncio.sleep(0.0005)

    @contextmanager
    def _losing(self, step: Step) -> Iterator[None]:
        """Nobody sees what the PLC makes in this step."""
        first = self.plc.made + 1
        self.disturbed.append(first - 1)
        yield
        if step.parts:
            self.hidden.append(first)
        self.disturbed.append(self.plc.made)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _make(self, step: Step) -> None:
        """Make parts and scan."""
        connection = await self._quiet()
        self.plc.work(step.seconds, step.parts, step.order)
        connection.scan()
        await self._quiet()

    async def _miss(self, step: Step) -> None:
        """Make parts that only a later scan shows."""
        await self._quiet()
        self.plc.work(step.seconds, step.parts)

    async def _weigh(self, step: Step) -> None:
        """Hand over a record, or ``arg`` of them, each as soon as the one before is acknowledged."""
        connection = await self._quiet()
        self.plc.work(step.seconds, 0)
        for _ in range(step.arg or 1):
            self.plc.weigh()
        connection.scan()
        await self._quiet()

    async def _bad(self, step: Step) -> None:
        """Make parts, and read a counter that is bad (or ``arg``, a number that it cannot hold)."""
        connection = await self._quiet()
        with self._losing(step):
            self.plc.work(step.seconds, step.parts)
            connection.scan(count=step.arg, quality=Quality.BAD if step.arg is None else Quality.GOOD)
            await self._quiet()

    async def _cut(self, step: Step) -> None:
        """Lose the PLC, make parts, find it again after ``arg`` tries in vain."""
        await self._quiet()
        with self._losing(step):
            await self._lose_plc()
            self.plc.work(step.seconds, step.parts, step.order)
            self.plc.refusals, self.plc.there = step.arg or 0, True
            await self._quiet()

    async def _reboot(self, step: Step) -> None:
        """Restart the PLC when all that it had made is known; its counter and records begin at zero."""
        await self._handed_over()
        await self._sample()
        with self._losing(step):
            await self._lose_plc()
            self.plc.restart()
            self.plc.work(step.seconds, step.parts, step.order)
            self.plc.there = True
            await self._quiet()

    async def _lose_plc(self) -> None:
        self.plc.there = False
        self.plc.cut()
        while not await self.life.until(lambda: self.plc.connection is None):
            await self._restart()

    async def _kill(self, step: Step) -> None:
        """Kill the agent in the middle of nothing; parts are made until it is back."""
        await self._quiet()
        with self._losing(step):
            self.kills += 1
            await self.life.kill()
            self.plc.work(step.seconds, step.parts, step.order)
            await self._start()
            await self._quiet()

    async def _arm(self, step: Step) -> None:
        """Have the agent killed at the point ``arg`` of its work, soon."""
        await self._quiet()
        self.life.store.armed = step.arg

    async def _broker(self, step: Step) -> None:
        """Let ``arg`` happen to the broker: away, back, or a fault in so many records."""
        if step.arg == "away":
            self.broker.leave()
        elif step.arg == "back":
            self.broker.there = True
        else:
            self.broker.faults.append(step.arg)

    # -- the verdict -------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Compare what the consumer has with what the PLC knows."""
        consumer = self.broker.consumer
        counts = consumer.told("production.count")
        assert sum(count["delta"] for count in counts) == self.plc.made
        done = 0
        for count in counts:
            done += count["delta"]
            assert count["total"] == done
            self._judge(count, done - count["delta"], done)
        assert [result["value"] for result in consumer.told("quality.result")] == self.plc.weights
        assert len({epoch for _, epoch in consumer.records}) == 1
        reasons = {gap["reason"] for gap in consumer.told("collection.gap")}
        assert "agent_down" in reasons or not self.kills

    def _judge(self, count: dict[str, Any], before: int, after: int) -> None:
        """One count: of parts that were made in sight it knows the order, of others it says that they were not seen."""
        recovered = count["derivation"] == "recovered"
        if any(before < part <= after for part in self.hidden):
            assert recovered, f"parts {before + 1} to {after} hold hidden ones"
        if recovered:
            assert any(before <= place <= after for place in self.disturbed), f"parts {before + 1} to {after} were made in sight"
        else:
            assert set(self.plc.orders[before:after]) == {count["ctx"]["order"]}
