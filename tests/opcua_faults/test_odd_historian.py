"""The history of a server of another make (asyncua's, in memory), read over a real outage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Server, ua
from odd_server import URI
from test_odd_resume import Reader

from edge_agent.model.reading import Recovered

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
TAGS = {"count": {"node": "s=count", "type": "int64", "history": True}, "plain": {"node": "s=plain", "history": True}}


class Historian:
    """asyncua's server with one variable whose history it keeps and one without."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._server = Server()
        self._nodes: dict[str, Any] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve."""
        await self._server.init()
        self._server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await self._server.register_namespace(URI)
        for name in TAGS:
            node = ua.NodeId(name, index)
            self._nodes[name] = await self._server.nodes.objects.add_variable(node, f"{index}:{name}", 0, ua.VariantType.Int64)
        async with self._server:
            await self._server.historize_node_data_change(self._nodes["count"], count=10_000)
            yield

    async def set(self, name: str, value: int) -> None:
        """Change a variable now; asyncua keeps microseconds."""
        now = datetime.now(UTC)
        stamp = now - timedelta(microseconds=now.microsecond % 10)
        await self._nodes[name].write_value(
            ua.DataValue(ua.Variant(value, ua.VariantType.Int64), SourceTimestamp=stamp, ServerTimestamp=stamp)
        )


async def test_the_gap_of_an_outage_from_an_independent_historian() -> None:
    """What changed while nobody read comes once, in order; the tag without a history keeps its gap."""
    historian = Historian()
    async with historian.running():
        reader = Reader(historian, TAGS, keep="0s")  # type: ignore[arg-type]  # it asks for the port only
        async with reader.reading():
            await reader.came("plain", 0)
            await asyncio.sleep(0.3)
            await historian.set("count", 10)
            await reader.came("count", 10)
        for value in range(11, 61):
            await historian.set("count", value)
            await historian.set("plain", value)
            await asyncio.sleep(0.005)
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 60)
            await historian.set("count", 61)
            await reader.came("count", 61)
        assert reader.values("count", first) == list(range(11, 62))
        assert reader.values("plain", first) == [60]
        (recovered,) = reader.of(Recovered, first)
        assert recovered.tags == ("count",)


async def test_a_server_that_only_seems_to_transfer() -> None:
    """Asyncua's server answers a transfer and publishes with the old session's requests: after some tries at most values flow again."""
    historian = Historian()
    async with historian.running():
        reader = Reader(historian, {"count": TAGS["count"]})  # type: ignore[arg-type]  # it asks for the port only
        async with reader.reading():
            await reader.until(lambda: any(batch.mark and batch.mark.facts for batch in reader.batches))
            await historian.set("count", 10)
            await reader.came("count", 10)
        tries, first = 0, len(reader.batches)
        while 103 not in reader.values("count", first):
            tries += 1
            assert tries <= 5
            async with reader.reading():
                for value in (101, 102, 103):
                    await historian.set("count", value)
                    with contextlib.suppress(TimeoutError):
                        await reader.until(lambda value=value: value in reader.values("count", first), 1.5)  # type: ignore[misc]
        assert set(reader.values("count", first)) <= {10, 101, 102, 103}
