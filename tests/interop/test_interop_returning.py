"""node-opcua's server keeps a subscription for an agent that comes back, and a history for one that stayed away for longer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from interop_server import NEEDS, WallClock, free_port, running, said

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.reading import Batch, Gap, Mark, Recovered
from edge_agent.ports import DeviceWiring

NAMES = ("a", "b", "c")
pytestmark = [
    pytest.mark.timeout(120),
    *NEEDS,
]


class Reader:
    """An agent's reading side, which stores its mark with every batch."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.port, self._process = port, process
        self.mark: Mark | None = None
        self.batches: list[Batch] = []
        self.storing = True

    @contextlib.asynccontextmanager
    async def reading(self, **more: Any) -> AsyncIterator[Any]:
        """Read until the end of the block."""
        fixed = {"version": 1, "device": "plc", "driver": "opcua", "allow_insecure": True, "namespace": "urn:edge-agent:interop"}
        tags = {name: {"node": f"s={name}", "history": name == "a"} for name in NAMES}
        config = OpcUaConfig.model_validate(
            fixed | {"url": f"opc.tcp://127.0.0.1:{self.port}", "sampling": "50ms", "publishing": "100ms", "tags": tags} | more
        )
        known = (self.mark,) if self.mark is not None else ()
        wiring = DeviceWiring(marks=known, returns=True, stored=lambda: (self.mark,) if self.mark else ())
        async with connect([config], WallClock(), {"plc": wiring}) as driver:
            task = asyncio.create_task(self._read(driver))
            try:
                yield driver
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _read(self, driver: Any) -> None:
        while True:
            for batch in await driver.read():
                self.batches.append(batch)
                if self.storing and batch.mark is not None:
                    self.mark = batch.mark

    def values(self, name: str, first: int = 0) -> list[Any]:
        """The values of a tag in the batches from number ``first`` on."""
        rows = (row for batch in self.batches[first:] for row in zip(batch.tags, batch.values, strict=True))
        return [value for number, value in rows if number == NAMES.index(name)]

    def of(self, kind: type, first: int = 0) -> list[Any]:
        """The notices of a kind in the batches from number ``first`` on."""
        return [one for batch in self.batches[first:] for one in (*batch.before, *batch.after) if isinstance(one, kind)]

    async def subscriptions(self) -> str:
        """What the server has of us now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"?\n")
        return await said(self._process, "subscriptions")


async def until(true: Callable[[], object], within: float = 15.0) -> None:
    """Return when it is so."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - what arrives has no event here
            await asyncio.sleep(0.02)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    """A server that counts five times a second, and who reads it."""
    port = free_port()
    async with running("returning.js", tmp_path, port) as process:
        yield Reader(port, process)


def without_a_step(values: list[Any]) -> bool:
    """Whether every number comes once, in order."""
    return all(after == before + 1 for before, after in itertools.pairwise(values))


async def test_a_restart_loses_nothing(reader: Reader) -> None:
    """Stopped in order, away for two seconds, back: the counters go on without a step, and nothing is declared."""
    async with reader.reading():
        await until(lambda: len(reader.values("b")) > 5)
    assert await reader.subscriptions() == "subscriptions 1 sessions 0"
    await asyncio.sleep(2)
    first = len(reader.batches)
    async with reader.reading():
        await until(lambda: len(reader.values("b", first)) > 20)
        assert await reader.subscriptions() == "subscriptions 1 sessions 1"
    for name in NAMES:
        assert without_a_step(reader.values(name)[2:]), (name, reader.values(name))
    assert reader.of(Recovered, first)
    assert not reader.of(Gap, first)


async def test_a_kill_loses_nothing(reader: Reader) -> None:
    """Cut off with messages taken and not stored, away for two seconds, back: those come again."""
    async with reader.reading() as driver:
        await until(lambda: len(reader.values("b")) > 5)
        reader.storing = False
        before = reader.values("b")[-1]
        await until(lambda: reader.values("b")[-1] > before + 4)
        driver._session.client.uaclient.protocol.transport.abort()
    await asyncio.sleep(2)
    first, reader.storing = len(reader.batches), True
    async with reader.reading():
        await until(lambda: len(reader.values("b", first)) > 20)
    again = reader.values("b", first)
    assert without_a_step(again), again
    assert before - 1 <= again[0] <= before + 2  # the last stored one may have come after the look at it
    assert not reader.of(Gap, first)


async def test_a_history_fills_a_long_absence(reader: Reader) -> None:
    """Without a subscription to come back to, the tag with a history has no step, the others have one."""
    async with reader.reading(keep="0s"):
        await until(lambda: len(reader.values("b")) > 5)
    await asyncio.sleep(2)
    first = len(reader.batches)
    async with reader.reading(keep="0s"):
        await until(lambda: len(reader.values("b", first)) > 5)
    assert without_a_step(reader.values("a")[2:]), reader.values("a")
    assert not without_a_step(reader.values("b")[2:])
    (recovered,) = reader.of(Recovered, first)
    assert recovered.tags == ("a",)
    assert await reader.subscriptions() == "subscriptions 0 sessions 0"
