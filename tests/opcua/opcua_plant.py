"""A PLC for the tests: an asyncua server in this process, and a TCP proxy that counts services and can go dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from asyncua import Server, ua
from asyncua.common.node import Node

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.drivers.opcua.pace import Pace
from edge_agent.model.reading import Batch, Notice
from edge_agent.ports import DeviceWiring, Driver
from simulators.listening import stop_listening

URI = "urn:edge-agent:test-line"
FAST = Pace(keep_alive=0.5, patience=0.5, retry_first=0.1, retry_most=0.2, teardown=0.3)
SERVICES = {631: "Read", 673: "Write", 712: "Call", 488: "AddNodes", 500: "DeleteNodes", 826: "Publish", 832: "Republish"}

logging.getLogger("asyncua").setLevel(logging.CRITICAL)


class WallClock:
    """The plant clock of a real plant, or a fixed or faster one."""

    def __init__(self, speed: float = 1.0, ahead: int = 0) -> None:
        self.speed = speed
        self._ahead = ahead

    def now(self) -> int:
        return time.time_ns() + self._ahead

    async def sleep_until(self, time: int) -> None:
        await asyncio.sleep(0)


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(true: Callable[[], object]) -> None:
    """Return when something inside the server is so; TimeoutError after 8 s."""
    async with asyncio.timeout(8):
        while not true():  # noqa: ASYNC110 - asyncua's server has no event for it
            await asyncio.sleep(0.005)


class Plc:
    """A server with variables in namespace `URI`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = Server()
        self.index = 0
        self.nodes: dict[str, Node] = {}

    async def start(self) -> None:
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.index = await self.server.register_namespace(URI)
        await self.server.start()

    async def add(self, name: str, value: Any, kind: ua.VariantType = ua.VariantType.Int32) -> Node:
        """Add a variable ``s=<name>`` below Objects/<index>:<name>."""
        node = await self.server.nodes.objects.add_variable(
            ua.NodeId(name, self.index), f"{self.index}:{name}", ua.Variant(value, kind)
        )
        await node.set_writable()
        self.nodes[name] = node
        return node

    async def write(
        self, name: str, value: Any, kind: ua.VariantType = ua.VariantType.Int32, status: int = 0, **times: Any
    ) -> None:
        """Change a variable as the PLC program does, in the middle of a server tick."""
        times.setdefault("SourceTimestamp", ua.uatypes.datetime.now(ua.uatypes.timezone.utc))
        data = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), **times)
        await self.server.iserver.aspace.write_attribute_value(self.nodes[name].nodeid, ua.AttributeIds.Value, data)

    @property
    def subscription(self) -> Any:
        """The newest subscription that the server has."""
        subscriptions = self.server.iserver.subscription_service.subscriptions
        return subscriptions[max(subscriptions)]

    async def stop(self) -> None:
        await self.server.stop()

    async def restart_with_moved_namespace(self) -> None:
        """Start the stopped server again with another namespace before ours, and none of the variables."""
        for node in self.nodes.values():
            del self.server.iserver.aspace._nodes[node.nodeid]
        self.nodes.clear()
        uris = await self.server.get_namespace_array()
        uris.insert(self.index, f"urn:padding:{self.index}")
        self.index += 1
        await self.server.get_node(ua.NodeId(ua.ObjectIds.Server_NamespaceArray)).write_value(uris)
        await self.server.start()


class Proxy:
    """A TCP proxy that counts the requests of the client by service and can turn into a black hole."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.requests: Counter[str] = Counter()
        self.dead = False
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None] | None) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(head[4:], "little") - 8)
                if look is not None and head[:3] == b"MSG":
                    look(body)
                if not self.dead:
                    writer.write(head + body)
                    await writer.drain()
        writer.close()

    def _count(self, body: bytes) -> None:
        number = int.from_bytes(body[18:20], "little")  # after channel, token and sequence headers: a four-byte node id
        self.requests[SERVICES.get(number, "other")] += 1

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, forth]
        for task in (
            asyncio.create_task(self._pump(reader, forth, self._count)),
            asyncio.create_task(self._pump(back, writer, None)),
        ):
            self._tasks.add(task)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await stop_listening(server)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


def config(port: int, tags: Mapping[str, Mapping[str, Any]], **more: Any) -> OpcUaConfig:
    """Return a device called ``plc``."""
    values = {
        "version": 1,
        "device": "plc",
        "driver": "opcua",
        "url": f"opc.tcp://127.0.0.1:{port}",
        "allow_insecure": True,
        "namespace": URI,
    }
    return OpcUaConfig.model_validate(values | {"sampling": "20ms", "publishing": "20ms", "tags": tags} | more)


class Reader:
    """Reads a driver and keeps what came. Batches are read one call after another, so everything is accepted in turn."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.batches: list[Batch] = []

    async def once(self) -> list[Batch]:
        async with asyncio.timeout(8):
            batches = list(await self.driver.read())
        self.batches += batches
        return batches

    async def settled(self, plc: Plc) -> None:
        """Read the baseline and wait until every item is monitored or set aside and its initial value was published."""
        await self.once()
        device = self.driver._devices["plc"]
        await eventually(lambda: all(item.state != "resolving" for item in device.items))
        subscription = plc.server.iserver.subscription_service.subscriptions[device._subscription]
        await eventually(lambda: subscription._notification_seq > 1 and not subscription._triggered_datachanges)

    async def until(self, done: Callable[[Reader], object]) -> None:
        """Read until ``done``; a TimeoutError after 8 s without anything new says that it never came."""
        while not done(self):
            await self.once()

    def values(self, tag: str) -> list[object]:
        """The good values of a tag, in order, snapshots and repeats included."""
        return [value for name, value, quality, _ in self.rows() if name == tag and quality == 0]

    def rows(self) -> list[tuple[str, object, int, str | None]]:
        names = {name: [tag.name for tag in tags] for name, tags in self.driver.tags.items()}
        return [
            (names[batch.device][tag], batch.values[row], batch.quality[row], batch.details.get(row))
            for batch in self.batches
            for row, tag in enumerate(batch.tags)
        ]

    def notices(self, kind: type[Notice]) -> list[Any]:
        """The notices of a kind, in order."""
        return [notice for batch in self.batches for notice in (*batch.before, *batch.after) if isinstance(notice, kind)]


@contextlib.asynccontextmanager
async def reading(
    configuration: OpcUaConfig, *, wiring: DeviceWiring | None = None, pace: Pace = FAST, clock: WallClock | None = None
) -> AsyncIterator[Reader]:
    """Connect and yield a reader that has the baseline and whose items are all monitored or declared."""
    wired = {} if wiring is None else {configuration.device: wiring}
    async with asyncio.timeout(30), connect([configuration], clock or WallClock(), wired, pace) as driver:
        yield Reader(driver)
