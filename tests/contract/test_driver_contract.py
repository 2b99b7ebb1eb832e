"""What every driver promises (`edge_agent.ports.Driver`), against a real server of its protocol on loopback.

A driver joins by a rig: a server with the two integer tags ``a`` and ``b``, and the configuration to reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import tempfile
import time
import tty
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme
from asyncua import Server, ua
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.agent.clock import WallClock
from edge_agent.agent.worker.process import Worker
from edge_agent.drivers import catalog
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceUp, Quality
from edge_agent.ports import DeviceWiring, Driver, Identity, Trigger

PATIENCE = 5.0

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # a server that is stopped in the middle of things says so


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig(Protocol):
    """A server that a driver can be tried on; tag ``a`` starts as 1, ``b`` as 2."""

    config: Any

    async def start(self) -> None:
        """Serve."""

    async def stop(self) -> None:
        """Close all connections and stop serving."""

    async def set(self, tag: str, value: int) -> None:
        """Let the device have another value."""

    async def judge(self) -> None:
        """Fail when anything was written, or asked to be."""


class ModbusRig:
    """pymodbus's own server."""

    framing = "tcp"
    request = frozenset({12})
    """How many bytes of a request the server may see at once."""

    def __init__(self) -> None:
        tags = {name: {"register": "holding", "address": address} for address, name in enumerate("ab")}
        self.port = free_port()
        self.functions: Counter[int] = Counter()
        self.lengths: Counter[int] = Counter()
        self.config = ModbusConfig.model_validate(
            {
                "version": 1,
                "device": "dev",
                "driver": "modbus",
                "framing": self.framing,
                "poll": "20ms",
                "tags": tags,
                **self.way(),
            }
        )

    def way(self) -> dict[str, Any]:
        """Return the part of the configuration that says how the device is reached."""
        return {"host": "127.0.0.1", "port": self.port}

    def serve(self, device: SimDevice, traces: dict[str, Any]) -> Any:
        """Return the server, not yet started."""
        return ModbusTcpServer(device, address=("127.0.0.1", self.port), **traces)

    async def start(self) -> None:
        data = SimData(0, values=[1, 2], datatype=DataType.REGISTERS)
        traces = {"trace_pdu": self.count, "trace_packet": self.see}
        self.server = self.serve(SimDevice(1, simdata=[data]), traces)
        await self.server.serve_forever(background=True)

    async def stop(self) -> None:
        await self.server.shutdown()
        await asyncio.sleep(0)

    def count(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """Count the function codes that reach the server."""
        if not sending:
            self.functions[pdu.function_code] += 1
        return pdu

    def see(self, sending: bool, data: bytes) -> bytes:
        """Count the lengths of what reaches the server."""
        if not sending:
            self.lengths[len(data)] += 1
        return data

    async def judge(self) -> None:
        """Whatever the test did: nothing but read requests came, each alone in its segment, as the packet filter has it."""
        assert set(self.functions) <= {1, 2, 3, 4}, self.functions
        assert self.lengths.keys() <= self.request, self.lengths
        assert self.functions, "the driver asked nothing"

    async def set(self, tag: str, value: int) -> None:
        await self.server.async_setValues(1, 3, "ab".index(tag), [value])


class RtuOverTcpRig(ModbusRig):
    """A gateway that passes the bytes of a serial line on."""

    framing = "rtu"
    request = frozenset({8})

    def way(self) -> dict[str, Any]:
        return {**super().way(), "timeout": "1s"}

    def serve(self, device: SimDevice, traces: dict[str, Any]) -> Any:
        return ModbusTcpServer(device, address=("127.0.0.1", self.port), framer=FramerType(self.framing), **traces)


class AsciiOverTcpRig(RtuOverTcpRig):
    """Likewise, with ASCII on the line."""

    framing = "ascii"
    request = frozenset({17})


class TlsRig(ModbusRig):
    """Modbus/TCP Security: both sides have a certificate."""

    def way(self) -> dict[str, Any]:
        self.folder = tempfile.TemporaryDirectory()
        ca, folder = trustme.CA(), Path(self.folder.name)
        ca.cert_pem.write_to_path(folder / "ca.pem")
        own = ca.issue_cert("agent@plant.example")
        own.private_key_pem.write_to_path(folder / "agent.key")
        own.cert_chain_pems[0].write_to_path(folder / "agent.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(self.context)
        ca.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_REQUIRED
        tls = {"ca": folder / "ca.pem", "cert": folder / "agent.pem", "key": folder / "agent.key"}
        return {**super().way(), "tls": tls}

    def serve(self, device: SimDevice, traces: dict[str, Any]) -> Any:
        return ModbusTlsServer(device, address=("127.0.0.1", self.port), sslctx=self.context, **traces)

    async def close(self) -> None:
        """Remove the certificates."""
        self.folder.cleanup()


class RtuRig(ModbusRig):
    """pymodbus's serial server at the other end of a cable of pseudo-terminals."""

    framing = "rtu"
    request = frozenset(range(1, 9))

    def way(self) -> dict[str, Any]:
        self.ends = [os.openpty(), os.openpty()]
        for _, slave in self.ends:
            tty.setraw(slave)
        self.near, self.far = (os.ttyname(slave) for _, slave in self.ends)
        return {"serial": self.near, "parity": "none", "timeout": "1s"}

    def serve(self, device: SimDevice, traces: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        (near, _), (far, _) = self.ends
        for source, target in ((near, far), (far, near)):
            loop.add_reader(source, lambda source=source, target=target: os.write(target, os.read(source, 1000)))
        return ModbusSerialServer(device, port=self.far, parity="N", framer=FramerType.RTU, reconnect_delay=0, **traces)

    async def close(self) -> None:
        """Give the pseudo-terminals back."""
        for master, slave in self.ends:
            asyncio.get_running_loop().remove_reader(master)
            os.close(master)
            os.close(slave)


class OpcUaRig:
    """asyncua's own server."""

    def __init__(self) -> None:
        self.port = free_port()
        self.config = OpcUaConfig.model_validate(
            {
                "version": 1,
                "device": "dev",
                "driver": "opcua",
                "url": f"opc.tcp://127.0.0.1:{self.port}",
                "namespace": "urn:contract",
                "allow_insecure": True,
                "sampling": "10ms",
                "publishing": "10ms",
                "tags": {"a": {"node": "s=a", "type": "int32"}, "b": {"node": "s=b", "type": "int32"}},
            }
        )

    async def start(self) -> None:
        self.server = Server()
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await self.server.register_namespace("urn:contract")
        for name, value in (("a", 1), ("b", 2)):
            variant = ua.Variant(value, ua.VariantType.Int32)
            await self.server.nodes.objects.add_variable(ua.NodeId(name, index), f"{index}:{name}", variant)
        self.values = {"a": 1, "b": 2}
        self.nodes = {name: self.server.get_node(ua.NodeId(name, index)) for name in "ab"}
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    async def judge(self) -> None:
        """Whatever the test did: the values are those that the test set, by no other hand."""
        for name, node in self.nodes.items():
            assert await node.read_value() == self.values[name]

    async def set(self, tag: str, value: int) -> None:
        self.values[tag] = value
        await self.nodes[tag].write_value(ua.Variant(value, ua.VariantType.Int32))


class WorkerModbusRig(ModbusRig):
    """The driver runs in a child process."""


class WorkerOpcUaRig(OpcUaRig):
    """Likewise."""


RIGS = {
    "modbus-in-worker": WorkerModbusRig, "opcua-in-worker": WorkerOpcUaRig,
    "modbus": ModbusRig, "rtu-over-tcp": RtuOverTcpRig, "ascii-over-tcp": AsciiOverTcpRig, "modbus-tls": TlsRig, "rtu": RtuRig, "opcua": OpcUaRig,
}  # fmt: skip


@pytest.fixture(params=RIGS.values(), ids=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A served rig; the test may stop and start it."""
    made = request.param()
    await made.start()
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(made, WorkerModbusRig | WorkerOpcUaRig):
            made.worker = await stack.enter_async_context(running_worker())
        yield made
    await made.judge()
    await made.stop()
    if isinstance(made, RtuRig | TlsRig):
        await made.close()


@contextlib.asynccontextmanager
async def running_worker() -> AsyncIterator[Worker]:
    """Run a child process for drivers; afterwards it is gone."""
    worker = Worker("1")
    task = asyncio.create_task(worker.run())
    await worker.ready()
    yield worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert worker.process is not None
    assert worker.process.returncode == 0


def connect(rig: Rig, **wiring: DeviceWiring) -> contextlib.AbstractAsyncContextManager[Driver]:
    """Open the rig's device."""
    if isinstance(rig, WorkerModbusRig | WorkerOpcUaRig):
        return rig.worker.connect([rig.config], {"dev": DeviceWiring(), **wiring}, Identity("contract", Path()))
    return catalog.connect([rig.config], WallClock(), wiring, Identity("contract", Path()))


async def until(driver: Driver, tag: int, value: int) -> list[Batch]:
    """Read until a good row of a tag has this value; returns everything read."""
    seen: list[Batch] = []
    async with asyncio.timeout(PATIENCE):
        while not any((tag, value) in zip(batch.tags, batch.values, strict=True) for batch in seen):
            seen += await driver.read()
    return seen


async def read_on(driver: Driver) -> None:
    """Read until the endpoint is lost; there is always something in what is returned."""
    async with asyncio.timeout(PATIENCE):
        while True:
            assert await driver.read()


async def test_tags_are_in_configuration_order(rig: Rig) -> None:
    """What a batch indexes is the configuration's order, known before anything was read."""
    async with connect(rig) as driver:
        assert driver.tags == {"dev": catalog.tags_of(rig.config)}
        assert [tag.name for tag in driver.tags["dev"]] == ["a", "b"]


async def test_the_first_batches_hold_every_tag(rig: Rig) -> None:
    """After a connect there is one row for every tag, behind the notice that the device answers."""
    async with connect(rig) as driver:
        seen = await until(driver, 1, 2)
        if not any(0 in batch.tags for batch in seen):
            seen += await until(driver, 0, 1)
    rows = {tag: value for batch in seen for tag, value in zip(batch.tags, batch.values, strict=True)}
    assert rows == {0: 1, 1: 2}
    assert any(isinstance(notice, DeviceUp) for notice in seen[0].before)


async def test_batches_are_columns_of_equal_length(rig: Rig) -> None:
    """Every column has one entry for each row, and the time of receipt lies in the time of the test."""
    start = time.time_ns()
    async with connect(rig) as driver:
        seen = await until(driver, 0, 1)
    for batch in seen:
        assert batch.device == "dev"
        assert {len(column) for column in (batch.tags, batch.values, batch.quality, batch.source, batch.server)} == {len(batch)}
        assert start <= batch.received <= time.time_ns()
        assert set(batch.quality) <= {Quality.GOOD}


async def test_a_change_arrives(rig: Rig) -> None:
    """A changed value comes as a row of its tag, with the right value."""
    async with connect(rig) as driver:
        await until(driver, 0, 1)
        await rig.set("b", 77)
        await until(driver, 1, 77)
        await rig.set("b", 78)
        await until(driver, 1, 78)


async def test_read_waits_and_may_be_cancelled(rig: Rig) -> None:
    """Read never returns nothing, and a cancelled read loses nothing."""
    async with connect(rig) as driver:
        seen = list(await driver.read())
        for value in range(100, 110):
            reading = asyncio.ensure_future(driver.read())
            await asyncio.sleep(0)
            if not reading.cancel():
                seen += await reading
            else:
                with contextlib.suppress(asyncio.CancelledError):
                    seen += await reading
            await rig.set("a", value)
            more = await until(driver, 0, value)
            assert all(isinstance(batch, Batch) for batch in more)
            seen += more
    assert [value for batch in seen for tag, value in zip(batch.tags, batch.values, strict=True) if tag == 0] == [
        1,
        *range(100, 110),
    ]


async def test_a_lost_server_is_said_after_everything_received(rig: Rig) -> None:
    """When the server goes, what was received is returned first, then DisconnectedError in words, every time."""
    async with connect(rig) as driver:
        await until(driver, 0, 1)
        await rig.stop()
        with pytest.raises(DisconnectedError) as caught:
            await read_on(driver)
        with pytest.raises(DisconnectedError):
            await driver.read()
    assert len(str(caught.value)) > 20
    await rig.start()


async def test_a_new_connection_after_a_loss_reads_again(rig: Rig) -> None:
    """Nothing of an old connection is needed or in the way: a new one starts with every tag."""
    async with connect(rig) as driver:
        await until(driver, 0, 1)
    await rig.stop()
    with pytest.raises(DisconnectedError):
        async with connect(rig):
            pass
    await rig.start()
    async with connect(rig) as driver:
        await until(driver, 0, 1)


async def test_nothing_is_written_unasked(rig: Rig) -> None:
    """Acknowledge refuses every tag that is not listed."""
    async with connect(rig) as driver:
        with pytest.raises(PermissionError, match=r"dev\.a"):
            await driver.acknowledge("dev", "a", 5)
        await rig.set("b", 9)
        assert 5 not in [value for batch in await until(driver, 1, 9) for value in batch.values]


async def test_a_calendar_poll_is_accepted(rig: Rig) -> None:
    """poll_at never raises and never blocks; a polling driver reads every tag at that time."""
    async with connect(rig) as driver:
        await until(driver, 0, 1)
        driver.poll_at(time.time_ns())
        await rig.set("a", 5)
        await until(driver, 0, 5)


async def test_a_trigger_group_is_a_snapshot(rig: Rig) -> None:
    """When the trigger changes, the group's tags arrive as one snapshot in the group's order, in one batch."""
    group = DeviceWiring(triggers=(Trigger("rec", "a", ("b", "a")),))
    async with connect(rig, dev=group) as driver:
        await until(driver, 0, 1)
        await rig.set("b", 40)
        await until(driver, 1, 40)
        await rig.set("a", 4)
        async with asyncio.timeout(PATIENCE):
            while True:
                for batch in await driver.read():
                    for snapshot in batch.snapshots:
                        rows = slice(snapshot.start, snapshot.stop)
                        if (snapshot.group, batch.tags[rows], batch.values[rows]) == ("rec", [1, 0], [40, 4]):
                            return


async def test_leaving_takes_everything_along(rig: Rig) -> None:
    """After the connection is left no task of it is alive, at once, whatever it was waiting for."""
    before = asyncio.all_tasks()
    for pause in (0.0, 0.001, 0.02, 0.021, 0.03):
        async with connect(rig) as driver:
            await until(driver, 0, 1)
            await asyncio.sleep(pause)
            start = time.monotonic()
        assert time.monotonic() - start < 1.0
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() - before == set()


async def test_connecting_to_a_silent_server_can_be_cancelled() -> None:
    """A server that accepts and says nothing does not hold anybody who wants to stop (pymodbus #3009)."""
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    rig = ModbusRig()
    config = rig.config.model_copy(update={"port": server.sockets[0].getsockname()[1], "timeout": 30 * 10**9})

    async def stay() -> None:
        async with catalog.connect([config], WallClock(), {}, Identity("contract", Path())):
            raise AssertionError("nobody answered")

    task = asyncio.create_task(stay())
    await accepted.wait()
    await asyncio.sleep(0.02)
    start = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - start < 1.0
    server.close()
    await server.wait_closed()
