"""The driver against node-opcua's server, an OPC UA stack of another make: subscribe, read, reconnect, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from interop_server import NEEDS, WallClock, free_port, running, said

from edge_agent.agent.backoff import delays
from edge_agent.agent.link import Link, keep_open
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Boot, ClockOffset, Gap, TagStatus
from edge_agent.ports import Driver

COUNTERS = 50
STRIDE = 100_000
pytestmark = NEEDS


class Stranger:
    """node-opcua's server as a process."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self, padding: int) -> None:
        """Start it with that many namespaces before ours; returns when it listens."""
        self._process = await self._stack.enter_async_context(running("server.js", self._home, self.port, padding))

    async def sessions(self) -> int:
        """Return how many sessions the server has now."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"?\n")
        async with asyncio.timeout(10):
            return int((await said(self._process, "sessions")).split()[1])

    async def kill(self) -> None:
        """End it like a power cut."""
        await self._stack.aclose()
        self._process = None


class Plant:
    """What a link to the server brought."""

    def __init__(self, server: Stranger) -> None:
        self.server = server
        self.values: dict[str, list[Any]] = {}
        self.bad: dict[str, str | None] = {}
        self.notices: list[Any] = []
        self.losses: list[str] = []

    def config(self) -> OpcUaConfig:
        """Return the device: counters by node id and by path, values at the ends of their types, and a node that is not there."""
        tags = {f"c{number}": {"node": f"s=Counter{number}"} for number in range(COUNTERS)}
        tags |= {name: {"node": f"s={name}"} for name in ("Text", "Flag", "Big", "Double", "NotANumber", "Empty", "Nowhere")}
        tags["path"] = {"path": "Objects/Line/Counter7"}
        return OpcUaConfig.model_validate({
            "version": 1, "device": "stranger", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{self.server.port}",
            "allow_insecure": True, "namespace": "urn:edge-agent:interop", "sampling": "50ms", "publishing": "100ms", "tags": tags,
        })  # fmt: skip

    async def _use(self, driver: Driver) -> None:
        names = [tag.name for tag in driver.tags["stranger"]]
        while True:
            for batch in await driver.read():
                self.notices += (*batch.before, *batch.after)
                for row, tag in enumerate(batch.tags):
                    if batch.quality[row] == 0:
                        self.values.setdefault(names[tag], []).append(batch.values[row])
                    else:
                        self.bad[names[tag]] = batch.details.get(row)

    async def _lost(self, error: DisconnectedError) -> None:
        self.losses.append(str(error))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Plant]:
        """Keep a link open as the agent does."""
        configuration = self.config()
        link = Link("stranger", "device")
        opening = keep_open(
            link,
            lambda: connect([configuration], WallClock(), {}),
            self._use,
            self._lost,
            lambda: delays(random.Random(1), longest=0.5),
        )
        task = asyncio.create_task(opening)
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, true: Callable[[], object], within: float = 20.0) -> float:
        """Return the machine seconds until it is so."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            while not true():  # noqa: ASYNC110 - what arrives has no event here
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    def counting(self, since: dict[str, int]) -> bool:
        """Whether every counter brought at least two values since."""
        return all(len(self.values.get(f"c{number}", ())) >= since.get(f"c{number}", 0) + 2 for number in range(COUNTERS))

    def lengths(self) -> dict[str, int]:
        """How many values each tag brought."""
        return {name: len(values) for name, values in self.values.items()}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Stranger]:
    """A server of another make."""
    stranger = Stranger(tmp_path)
    await stranger.start(0)
    yield stranger
    await stranger.kill()


@pytest.mark.timeout(180)
async def test_a_server_of_another_make(server: Stranger) -> None:
    """Values, changes, limits, bad nodes, evidence and the end of the session are understood by both sides."""
    plant = Plant(server)
    async with plant.running():
        await plant.until(lambda: plant.counting({}), 60)
        await plant.until(lambda: any(isinstance(notice, TagStatus) for notice in plant.notices))
        assert await server.sessions() == 1
    assert await server.sessions() == 0
    assert plant.losses == []
    assert not [notice for notice in plant.notices if isinstance(notice, Gap) and notice.reason != "comm_loss"]
    for number in range(COUNTERS):
        values = plant.values[f"c{number}"]
        assert all(value // STRIDE == number for value in values)
        assert all(later > earlier for earlier, later in itertools.pairwise(values))
    assert all(value // STRIDE == 7 for value in plant.values["path"])
    assert (plant.values["Text"], plant.values["Flag"], plant.values["Big"]) == (["äöü 漢字"], [True], [2**64 - 1])
    assert repr(plant.values["Double"][0]) == "-0.0"
    assert "NotANumber" not in plant.values
    assert "BadNodeIdUnknown" in (plant.bad["Nowhere"] or "")
    (boot,) = [notice for notice in plant.notices if isinstance(notice, Boot)]
    assert boot.started is not None
    assert any(isinstance(notice, ClockOffset) and abs(notice.offset) < 10**9 for notice in plant.notices)


@pytest.mark.timeout(240)
async def test_a_restart_of_it_with_other_namespace_indexes(server: Stranger) -> None:
    """Killed and started again with its namespaces moved, every item is back at its own node within 5 s."""
    plant = Plant(server)
    async with plant.running():
        await plant.until(lambda: plant.counting({}), 60)
        await server.kill()
        await plant.until(lambda: plant.losses)
        before = plant.lengths()
        await server.start(3)
        seconds = await plant.until(lambda: plant.counting(before))
    print(f"interop: {COUNTERS} items back {seconds:.1f} s after the restart of node-opcua")
    assert seconds <= 5.0
    for number in range(COUNTERS):
        assert all(value // STRIDE == number for value in plant.values[f"c{number}"])
