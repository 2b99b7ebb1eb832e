"""Right answers with odd contents: values torn by the device itself (F55), counters that wrap, are reset and corrected (F56)."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from mb_judge import Spot
from mb_plant import Plant
from mb_tally import TALLY
from mb_time import leaping

from edge_agent.events.advance import Register
from edge_agent.events.tally import Tally, Watch, sample
from edge_agent.model.reading import Batch
from simulators.modbus_stamps import HOLDING, Counter

NS = 1_000_000_000
FIRST = 65_530
STEADY = 7
"""Scans in which a value stands; in the first of them its upper word is still the old one."""


def slowly_carried(plant: Plant) -> None:
    """Let holding 20 and 21 be a 32-bit counter whose upper word follows one scan after the lower one."""

    def true(scan: int) -> int:
        return FIRST + scan // STEADY

    plant.device.stamps.own[1, HOLDING, 20] = lambda scan: true(scan - 1) >> 16
    plant.device.stamps.own[1, HOLDING, 21] = lambda scan: true(scan) & 0xFFFF


async def seen(*, read_twice: bool) -> list[int]:
    """Return the values of such a counter around its carry."""
    tag = {"register": "holding", "address": 20, "type": "uint32", "read_twice": read_twice}
    plant = Plant("tcp", 1, tags={"t": tag}, spots={"t": Spot(HOLDING, 20, 2)})
    slowly_carried(plant)
    (judge,) = plant.judges.values()
    async with plant.running():
        await plant.until(lambda: any(good.entry.values[0] and good.entry.values[1] > 2 for good in judge.good.get("t", [])), 10)
    assert plant.losses == []
    TALLY.played(plant.device.ledger, judge.values, 0, 0.0)
    return [good.entry.values[0] << 16 | good.entry.values[1] for good in judge.good["t"]]


def test_a_value_that_the_device_tears_is_not_believed_where_it_is_read_twice() -> None:
    """Around the carry every value is one that the counter had; read once, the torn one is seen: the fault is real."""
    leaping(around_the_carry())


async def around_the_carry() -> None:
    """Read such a counter twice, and once, in a time that passes only when there is nothing to do: no poll is missed."""
    whole = set(range(FIRST, FIRST + 20))
    assert set(await seen(read_twice=True)) <= whole
    assert set(await seen(read_twice=False)) - whole == {0}


class Line:
    """A machine that makes parts and the rule that counts them from what the driver hands on."""

    def __init__(self, transport: str, seed: int) -> None:
        self.counter = Counter(65_480)
        self.plant = Plant(
            transport, seed, tags={"n": {"register": "holding", "address": 30}}, spots={"n": Spot(HOLDING, 30)}
        )  # fmt: skip
        self.plant.device.stamps.own[1, HOLDING, 30] = self.counter
        self.kinds: list[str] = []
        self.tally = Tally()
        (self.judge,) = self.plant.judges.values()
        self.judge.listener = self.count
        self._random = Random(seed)
        self._watch = Watch("dev1", "n", Register(modulus=65_536, rate=400 * NS, burst=10, back_tol=5))

    def count(self, batch: Batch) -> None:
        """Fold the rows as the agent does."""
        for row in range(len(batch)):
            self.tally, moves = sample(self._watch, self.tally, batch.reading(row, "dev1.n"))
            self.kinds += [move.kind for move in moves if move.kind]

    async def make(self, parts: int) -> None:
        """Make parts, some at a time."""
        done = 0
        while done < parts:
            some = self._random.randint(1, 2)
            self.counter.make(some)
            done += some
            await asyncio.sleep(0.01)

    def stands(self) -> bool:
        """Whether the rule has seen what the counter shows."""
        return self.tally.last == self.counter(0) and self.tally.held is None


@pytest.mark.parametrize("fault", ["", "late", "wrong unit", "closes before it", "exception 6"])
async def test_counters_are_summed_to_the_part(fault: str) -> None:
    """Wrap, reset and correction, with and without faults on the wire: what was counted is what was made, less what was taken back."""
    line = Line("tcp", 5)
    plant = line.plant
    async with plant.running():
        await plant.until(lambda: line.tally.last is not None)
        plant.device.rate, plant.device.fault = 0.3, fault
        await line.make(80)
        plant.device.heal()
        await plant.until(line.stands)
        line.counter.reset()
        await plant.until(line.stands)
        await line.make(60)
        await plant.until(line.stands)
        line.counter.jump(line.counter(0) - 3)
        await plant.until(line.stands)
        await line.make(10)
        await plant.until(line.stands)
    assert line.tally.total == line.counter.made - 3  # a small step back takes parts back
    assert line.kinds == ["baseline", "rollover", "reset", "correction"]
    TALLY.played(plant.device.ledger, line.judge.values, 0, 0.0)
