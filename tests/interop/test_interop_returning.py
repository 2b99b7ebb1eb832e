"""node-opcua's server keeps a subscription for an agent that comes back, and a history for one that stayed away for longer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.reading import Batch, Gap, Mark, Recovered
from edge_agent.ports import DeviceWiring

FOLDER = Path(__file__).parent
NAMES = ("a", "b", "c")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not (FOLDER / "node_modules").exists(), reason="node-opcua is not installed (make interop installs it)"),
]


class WallClock:
    """The plant clock of a real plant."""

    speed = 1.0

    def now(self) -> int:
        return time.time_ns()

    async def sleep_until(self, time_: int) -> None:
        await asyncio.sleep(max(0, (time_ - time.time_ns()) / 1e9))


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
        assert self._process.stdout is not None
        self._process.stdin.write(b"?\n")
        return await said(self._process.stdout, "subscriptions")


async def said(stdout: asyncio.StreamReader, word: str) -> str:
    """Return the next line that begins with a word; the server says other things too."""
    while line := (await stdout.readline()).decode():
        if line.startswith(word):
            return line.strip()
    raise AssertionError(f"the server ended before it said {word}")


async def until(true: Callable[[], object], within: float = 15.0) -> None:
    """Return when it is so."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - what arrives has no event here
            await asyncio.sleep(0.02)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    """A server that counts five times a second, and who reads it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "node", "returning.js", str(port), cwd=FOLDER, env=os.environ | {"INTEROP_HOME": str(tmp_path)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        await said(process.stdout, "ready")
    yield Reader(port, process)
    process.kill()
    await process.wait()


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
