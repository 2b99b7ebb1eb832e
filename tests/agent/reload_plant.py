"""Three Modbus devices on sockets of their own and an agent over them, whose files a test may change while it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_bench import FakeSink, body, short
from counting_device import Device

from edge_agent.agent.clock import WallClock
from edge_agent.agent.supervise import Agent
from edge_agent.config.load import load
from edge_agent.ports import Document
from edge_agent.status.report import ReloadReport

POLL = 0.25


class Plant:
    """Devices ``plc1`` to ``plc3`` with a unit each, and what the broker was told."""

    def __init__(self, folder: Path, devices: list[Device]) -> None:
        """Write the files."""
        self.folder, self.devices = folder, devices
        self.sinks: list[_Kept] = []
        self.retained: dict[str, bytes] = {}
        self.broker_there = True
        self.agent: Agent
        self.write("agent", self.settings())
        for number in (1, 2, 3):
            self.write(f"devices/plc{number}", self.device(number))
            self.write(f"units/m{number}", self.unit(number))

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what agent.yaml holds."""
        return {
            "version": 1,
            "agent": "gw1",
            "site": ["acme"],
            "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
            "buffer": {"path": str(self.folder / "buffer"), "min_free": 0, "commit_interval": "5ms"},
        } | more

    def device(self, number: int, **more: Any) -> dict[str, Any]:
        """Return what the file of a device holds."""
        at = {"count": 0, "again": 1, "mode": 7}
        tags = {name: {"register": "holding", "address": address, "type": "uint16"} for name, address in at.items()}
        port = self.devices[number - 1].port
        return {
            "version": 1, "device": f"plc{number}", "driver": "modbus", "host": "127.0.0.1", "port": port, "unit_id": 1,
            "poll": f"{round(POLL * 1000)}ms", "tags": tags,
        } | more  # fmt: skip

    def unit(self, number: int, **more: Any) -> dict[str, Any]:
        """Return what the file of a unit holds."""
        counters = {"total": {"tag": f"plc{number}.count", "role": "total", "wraps": "uint16", "max_rate": "1000/s"}}
        return {"version": 1, "unit": f"m{number}", "path": ["acme", "line"], "counters": counters} | more

    def write(self, name: str, content: dict[str, Any] | str) -> None:
        """Write a file, ``units/m1`` for example."""
        file = self.folder / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))

    def remove(self, name: str) -> None:
        """Take a file away."""
        (self.folder / f"{name}.yaml").unlink()

    def told(self, stream: str) -> list[tuple[int, str, dict[str, Any]]]:
        """Return what the broker has of a stream, each number once, in order: number, type, data."""
        found = {
            record.key.seq: (record.key.seq, short(record.entry), body(record.entry))
            for sink in self.sinks
            for record in sink.seen
            if record.key.stream == stream
        }
        return [found[seq] for seq in sorted(found)]

    def kinds(self, stream: str) -> list[str]:
        """Return the types of a stream in order."""
        return [kind for _, kind, _ in self.told(stream)]

    def counted(self, unit: str) -> int:
        """Return the sum of all counts of a unit."""
        return sum(data["delta"] for data in self._counts(unit))

    def shown(self, unit: str) -> int:
        """Return by how much the register has moved between the first baseline of a unit and its last count."""
        first = next(data for _, kind, data in self.told(unit) if kind == "counter.discontinuity" and data["counter"] == "total")
        return int(self._counts(unit)[-1]["raw"]) - int(first["raw_after"])

    def _counts(self, unit: str) -> list[dict[str, Any]]:
        return [data for _, kind, data in self.told(unit) if kind == "production.count" and data["counter"] == "total"]

    async def reload(self) -> ReloadReport:
        """Reload and return what became of it."""
        return await self.agent.reloaded()

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[FakeSink]:
        """Be the broker."""
        sink = _Kept(self)
        self.sinks.append(sink)
        yield sink


class _Kept(FakeSink):
    def __init__(self, plant: Plant) -> None:
        super().__init__(window=20, by_itself=True)
        self._plant = plant

    async def announce(self, document: Document) -> None:
        await super().announce(document)
        self._plant.retained[document.topic] = document.payload


@asynccontextmanager
async def running(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[Plant]:
    """Run devices and agent; the agent has counted something of each machine when the block begins."""
    devices = [Device(), Device(), Device()]
    async with AsyncExitStack() as stack:
        for device in devices:
            server = await stack.enter_async_context(await asyncio.start_server(device.serve, "127.0.0.1", 0))
            device.port = server.sockets[0].getsockname()[1]
        plant = Plant(folder, devices)
        plant.write("agent", plant.settings(**settings))
        monkeypatch.setattr("edge_agent.publish.mqtt.connect", lambda *_, **__: plant.sink())
        plant.agent, stop = Agent(load(folder), WallClock(), folder), asyncio.Event()
        task = asyncio.create_task(plant.agent.run(stop))
        try:
            await happens(lambda: all(plant.counted(f"m{number}") for number in (1, 2, 3)))
            yield plant
            stop.set()
            await asyncio.wait_for(task, 30)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        await happens(lambda: not any(device.open for device in devices))


async def happens(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody rings a bell
            await asyncio.sleep(0.01)
