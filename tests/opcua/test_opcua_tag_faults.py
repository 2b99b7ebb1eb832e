"""Tags that are lost and found over several connections: each is a fault in the agent's stream once, and taken back once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from opcua_alarms import Conditions
from opcua_plant import Plc, WallClock, config, free_port, reading

from edge_agent.agent.journal import Journal
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.model.reading import Settled

pytestmark = pytest.mark.asyncio(loop_scope="module")
INT64, INT32 = "int64", "int32"


class Stream:
    """The agent's own stream: what it says of faults."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        endpoint = {"plc": ("opcua", "opc.tcp://plc")}
        self._journal = Journal("edge", self, WallClock(), prefix="urn", cfg="1", devices=endpoint)  # type: ignore[arg-type]  # it only appends

    async def append(self, entries: list[Any], _: object) -> None:
        self.events += [json.loads(entry.body) for entry in entries]

    async def connection(self, device: OpcUaConfig) -> list[tuple[str, str, str]]:
        """Connect, wait until every tag was looked at, and return code, tag and action of each fault that this connection has told."""
        before = len(self.events)
        async with reading(device) as reader:
            await reader.until(lambda r: r.notices(Settled))
            for batch in reader.batches:
                await self._journal.deliver(batch)
        return [(one["code"], one["tag"], one["action"]) for one in self.events[before:] if "tag" in one]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    """A server for all tests of this file; each uses variables of its own."""
    server = Plc(free_port())
    await server.start()
    yield server
    await server.stop()


async def test_a_tag_that_the_next_connection_finds_is_taken_back(plc: Plc) -> None:
    """Lost on two connections it is raised once; found on the third it is cleared once, with what it was; the fourth says nothing."""
    stream, device = Stream(), config(plc.port, {"there": {"node": "s=there1"}, "late": {"node": "s=late1"}})
    await plc.add("there1", 1)
    assert await stream.connection(device) == [("tag_lost", "late", "raised")]
    assert await stream.connection(device) == []
    await plc.add("late1", 1)
    assert await stream.connection(device) == [("tag_lost", "late", "cleared")]
    assert {one["text"] for one in stream.events if "tag" in one} == {"BadNodeIdUnknown"}
    assert await stream.connection(device) == []


async def test_a_tag_of_another_type_that_the_next_connection_finds_right_is_taken_back(plc: Plc) -> None:
    """A device whose program was mended while nobody looked is as declared from the first value on."""
    stream, declared = Stream(), {"a": {"node": "s=typed", "type": INT64}}
    await plc.add("typed", 1)
    assert await stream.connection(config(plc.port, declared)) == [("type_changed", "a", "raised")]
    mended = {"a": {"node": "s=typed", "type": INT32}}
    assert await stream.connection(config(plc.port, mended)) == [("type_changed", "a", "cleared")]


async def test_a_source_of_alarms_that_the_next_connection_finds_is_taken_back(plc: Plc) -> None:
    """Sources are looked at after the tags; one that is still lost is not taken back in between."""
    await plc.add("there2", 1)
    stream, tags = Stream(), {"there": {"node": "s=there2"}}
    device = config(plc.port, tags, alarms=[{"name": "line", "source": "s=Source2"}])
    assert await stream.connection(device) == [("tag_lost", "line", "raised")]
    assert await stream.connection(device) == []
    await Conditions(plc).start()
    source = await plc.server.nodes.objects.add_object(ua.NodeId("Source2", plc.index), "Source2")
    await source.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
    assert await stream.connection(device) == [("tag_lost", "line", "cleared")]
