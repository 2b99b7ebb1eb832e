"""A whole agent in this process: real wiring, real buffer on disk, fakes for the PLC, the broker and the plant's clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_bench import FakeDriver, FakeSink, ManualClock, short, until

from edge_agent.agent.supervise import Agent
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceUp
from edge_agent.model.stream import Record
from edge_agent.ports import Document

CONFIG: dict[str, Any] = {
    "version": 1,
    "agent": "gw1",
    "site": ["acme", "plant1"],
    "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
    "devices": [
        {
            "version": 1,
            "device": "plc1",
            "driver": "modbus",
            "host": "127.0.0.1",
            "unit_id": 1,
            "poll": "500ms",
            "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}},
        }
    ],
    "units": [
        {
            "version": 1,
            "unit": "filler",
            "path": ["acme", "plant1", "line1"],
            "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "100/s"}},
        }
    ],
}


class Plant:
    """The world of one agent: what it can connect to, and everything that happened, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put fakes behind the two seams; the PLC and the broker are there until told otherwise."""
        self.folder = folder
        self.clock = ManualClock(0)
        self.plc_there = self.broker_there = True
        self.driver = FakeDriver()
        self.sink = FakeSink(window=20, by_itself=True)
        self.happened: list[str] = []
        self.keep: dict[str, bytes] = {}
        self.register = 100
        self.stop = asyncio.Event()
        monkeypatch.setattr("edge_agent.drivers.catalog.connect", lambda *_: self._driver())
        monkeypatch.setattr("edge_agent.publish.mqtt.connect", lambda *_, **__: self._sink())

    @property
    def config(self) -> AgentConfig:
        """The configuration, loaded as a user's."""
        file = self.folder / "agent.yaml"
        file.write_text(json.dumps(CONFIG | {"buffer": {"path": str(self.folder / "buffer"), "min_free": 0}}))
        return load(file)

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[FakeDriver]:
        if not self.plc_there:
            raise DisconnectedError("PLC away")
        driver = self.driver = FakeDriver({"plc1": FakeDriver().tags["plc1"][:1]})
        driver.on_poll = self._polled
        driver.put(self.scan(up=True))
        try:
            yield driver
        finally:
            self.happened.append("plc closed")

    @asynccontextmanager
    async def _sink(self) -> AsyncIterator[FakeSink]:
        if not self.broker_there:
            raise DisconnectedError("broker away")
        sink = self.sink = _Noting(self)
        yield sink
        self.happened.append("broker closed")

    def _polled(self, time: int) -> None:
        self.happened.append("last poll")
        self.register += 1
        self.driver.put(self.scan())

    def scan(self, *, up: bool = False) -> Batch:
        """Return a reading of the register now."""
        now = self.clock.now()
        return Batch("plc1", now, [0], [self.register], [0], [0], [0], before=(DeviceUp("plc1", now),) if up else ())

    async def count(self, parts: int) -> None:
        """Make parts, sample, and wait until the sample is accepted."""
        self.clock.advance(1)
        self.register += parts
        self.driver.put(self.scan())
        await until(lambda: self.driver.idle)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the agent; it is stopped in order when the test has not ended it."""
        self.stop = asyncio.Event()
        task = asyncio.create_task(Agent(self.config, self.clock).run(self.stop))
        try:
            yield task
            if not task.done():
                self.stop.set()
                await asyncio.wait_for(task, 30)
        finally:
            task.cancel()
            await asyncio.wait([task])


class _Noting(FakeSink):
    def __init__(self, plant: Plant) -> None:
        super().__init__(window=20, by_itself=True)
        self._plant = plant
        self.kept = plant.keep

    async def publish(self, record: Record) -> None:
        await super().publish(record)
        self._plant.happened.append(short(record.entry))

    async def announce(self, document: Document) -> None:
        await super().announce(document)
        if document.topic.endswith("/_agent/gw1/status") or b'"status"' in document.payload:
            self._plant.happened.append(json.loads(document.payload)["status"])
