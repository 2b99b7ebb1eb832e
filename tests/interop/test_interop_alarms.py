"""Alarms and the look at a plant against node-opcua's server: conditions, ConditionRefresh, and what a stack of another make says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from interop_server import NEEDS, WallClock, free_port, running

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.drift import inspect
from edge_agent.drivers.opcua.driver import connect
from edge_agent.events.alarm import AlarmConfig, build
from edge_agent.events.derive import Fold, UnitState
from edge_agent.model.condition import Condition, Refresh
from edge_agent.model.event import ProductionEvent
from edge_agent.model.inspection import Inspection
from edge_agent.model.reading import Batch
from edge_agent.ports import Driver

URI = "urn:edge-agent:interop"
pytestmark = NEEDS


class Stranger:
    """node-opcua's server with two alarms, as a process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self.port = process, port

    def set(self, name: str, value: float) -> None:
        """Let the plant change."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {value}\n".encode())

    def config(self, **more: Any) -> OpcUaConfig:
        """Return the device with the alarms of the filler."""
        return OpcUaConfig.model_validate({
            "version": 1, "device": "stranger", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{self.port}", "allow_insecure": True,
            "namespace": URI, "sampling": "50ms", "publishing": "50ms", "alarms": {"source": "s=Filler"},
            "tags": {"level": {"node": "s=level", "type": "float64"}}, **more,
        })  # fmt: skip


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncIterator[Stranger]:
    """A server of another make."""
    port = free_port()
    async with running("alarms.js", tmp_path, port) as process:
        yield Stranger(process, port)


class Unit:
    """A unit with these alarms; over two connections."""

    def __init__(self, config: OpcUaConfig, driver: Driver) -> None:
        tags = {tag.ref: tag for tag in driver.tags["stranger"]}
        rules = build(AlarmConfig.model_validate({"conditions": "stranger.alarms"}), unit="filler", name="x", tags=tags)
        self.fold = Fold("filler", rules, {"stranger": driver.tags["stranger"]})
        self.state: UnitState = self.fold.start({})[0]
        self.events: list[ProductionEvent] = []
        self.batches: list[Batch] = []

    async def until(self, driver: Driver, true: Callable[[], object]) -> None:
        """Read and fold until it is so."""
        async with asyncio.timeout(20):
            while not true():
                batches = await driver.read()
                self.batches += batches
                turn = self.fold.fold(self.state, batches)
                self.state, self.events = turn.state, [*self.events, *turn.events]

    def of(self, kind: type) -> list[Any]:
        """Return the values of one kind that came."""
        return [value for batch in self.batches for value in batch.values if isinstance(value, kind)]


async def test_alarms_of_another_stack(stranger: Stranger) -> None:
    """An alarm that stands is in the refresh; one that rises and falls is told; behind a new connection nothing is told twice."""
    config = stranger.config()
    stranger.set("torque", 200)
    async with connect([config], WallClock(), {}) as driver:
        unit = Unit(config, driver)
        await unit.until(driver, lambda: [mark.phase for mark in unit.of(Refresh)] == ["begun", "done"])
        (standing,) = {one.key: one for one in unit.of(Condition) if one.active}.values()
        assert (standing.key, standing.name, standing.acked) == (f"nsu={URI};s=torqueHigh", "torqueHigh", False)
        assert unit.events == []
        stranger.set("level", 200)
        await unit.until(driver, lambda: unit.events)
        (raised,) = unit.events
        assert (raised.type, raised.data["alarm_id"], raised.data["condition"]) == (
            "alarm.raised",
            f"nsu={URI};s=levelHigh",
            "levelHigh",
        )
        assert abs(raised.time - time.time_ns()) < 5e9
    stranger.set("torque", 50)
    async with connect([config], WallClock(), {}) as driver:
        marks = len(unit.of(Refresh))
        await unit.until(driver, lambda: len(unit.of(Refresh)) == marks + 2)
        stranger.set("level", 50)
        await unit.until(driver, lambda: any(event.data["condition"] == "levelHigh" for event in unit.events[1:]))
    told = [(event.type, event.data["alarm_id"]) for event in unit.events if event.type != "alarm.acknowledged"]
    assert told == [
        (kind, f"nsu={URI};s={name}High")
        for kind, name in (("alarm.raised", "level"), ("alarm.cleared", "torque"), ("alarm.cleared", "level"))
    ]
    # It falls before anybody saw it: the server keeps a branch of it, which is no second alarm, and nobody has acknowledged it.
    assert not [event for event in unit.events if event.type == "alarm.acknowledged" and event.data["condition"] == "levelHigh"]


async def test_a_look_at_another_stack(stranger: Stranger) -> None:
    """The look finds what is there and what is not, with what the server says of itself."""
    tags = {
        "level": {"node": "s=level", "type": "float64"},
        "other": {"node": "s=torqe"},
        "typed": {"node": "s=torque", "type": "int32"},
    }
    config = stranger.config(tags=tags)
    found = {"stranger": Inspection("stranger", config.url)}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            await inspect([config], WallClock(), None, found)
    one = found["stranger"]
    findings = {(each.code, each.tag): each for each in one.findings if each.grade != "note"}
    assert set(findings) == {("node_gone", "other"), ("type_changed", "typed")}
    assert findings["node_gone", "other"].remedy == f"did you mean node: 'nsu={URI};s=torque'?"
    assert one.facts["tags"] == {"configured": 3, "found": 2}
    assert one.facts["sampling"][0]["tags"] == 2
    assert "NodeOPCUA" in one.facts["server"]
