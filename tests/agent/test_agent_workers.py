"""Devices in child processes: a worker that dies costs its own devices a declared gap, and nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agent_bench import FakeSink, body, short
from pydantic import ValidationError
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.agent.clock import WallClock
from edge_agent.agent.supervise import Agent
from edge_agent.agent.worker.process import Worker
from edge_agent.agent.worker.wire import REPORTS, Batches, Failed, Open, Opened, arrived, crossing, error_of, failure, order, pipe
from edge_agent.config.load import load
from edge_agent.config.schema import AgentFile
from edge_agent.drivers.opcua.certificate import UntrustedError
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import Batch, Boot, DeviceUp, Gap, Mark, Snapshot
from edge_agent.ports import DeviceWiring

PATIENCE = 30.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """A Modbus device that counts parts."""

    def __init__(self) -> None:
        self.port = free_port()
        self.count = 100
        self.asked: list[float] = []

    async def start(self) -> None:
        """Serve."""
        device = SimDevice(1, simdata=[SimData(0, values=[self.count], datatype=DataType.REGISTERS)])
        self.server = ModbusTcpServer(device, address=("127.0.0.1", self.port), trace_pdu=self._see)
        await self.server.serve_forever(background=True)

    def _see(self, sending: bool, pdu: Any) -> Any:
        if not sending:
            self.asked.append(time.monotonic())
        return pdu

    async def make(self, parts: int) -> None:
        """Count parts."""
        self.count += parts
        await self.server.async_setValues(1, 3, 0, [self.count])


class Line:
    """An agent with two machines, each in a worker of its own, and a receiver that keeps everything."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.machines = folder, (Machine(), Machine())
        self.sink = FakeSink(window=20, by_itself=True)
        monkeypatch.setattr("edge_agent.publish.mqtt.connect", lambda *_, **__: self._sink())

    @contextlib.asynccontextmanager
    async def _sink(self) -> AsyncIterator[FakeSink]:
        yield self.sink

    def config(self) -> Any:
        """Return the configuration, loaded as a user's."""
        devices = [
            {
                "version": 1, "device": f"plc{number}", "driver": "modbus", "host": "127.0.0.1", "port": machine.port, "poll": "50ms",
                "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}},
            }
            for number, machine in enumerate(self.machines)
        ]  # fmt: skip
        units = [
            {
                "version": 1, "unit": f"unit{number}", "path": ["acme", "plant1", "line1"],
                "counters": {"total": {"tag": f"plc{number}.count", "role": "total", "wraps": "uint16", "max_rate": "10000/s"}},
            }
            for number in range(2)
        ]  # fmt: skip
        whole = {
            "version": 1, "agent": "gw1", "site": ["acme", "plant1"], "workers": 2, "devices": devices, "units": units,
            "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
            "buffer": {"path": str(self.folder / "buffer"), "min_free": 0},
        }  # fmt: skip
        (self.folder / "agent.yaml").write_text(json.dumps(whole))
        return load(self.folder / "agent.yaml")

    async def listed(self) -> list[tuple[Any, ...]]:
        """Return what the agent's status says of its workers."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent", "status", "-c", str(self.folder), "--json", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        return [tuple(each[name] for name in ("process", "up", "restarts", "devices")) for each in json.loads(said)["workers"]]

    def counted(self, unit: int) -> int:
        """Return all the parts that were told of a unit."""
        return sum(body(record.entry)["delta"] for record in self.of(unit, "production.count"))

    def of(self, unit: int, kind: str) -> list[Any]:
        """Return the events of one type of a unit."""
        return [one for one in self.sink.seen if one.key.stream == f"unit{unit}" and short(one.entry) == kind]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the machines and the agent; afterwards all has been stopped in order."""
        for machine in self.machines:
            await machine.start()
        stop = asyncio.Event()
        task = asyncio.create_task(Agent(self.config(), WallClock()).run(stop))
        try:
            yield
            assert not task.done()
            stop.set()
            await asyncio.wait_for(task, PATIENCE)
        finally:
            task.cancel()
            await asyncio.wait([task])
            for machine in self.machines:
                await machine.server.shutdown()


async def until(condition: Any) -> None:
    """Wait until ``condition`` holds; a child process takes its time to start."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


def workers() -> list[int]:
    """Return the processes of the workers of this one."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        children = (task / "children").read_text().split()
        found += [int(child) for child in children if b"agent.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return sorted(found)


def worker_of(machine: Machine) -> int:
    """Return the worker that has a connection to a machine."""
    port = f":{machine.port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(port) and row[3] == "01"}
    for pid in workers():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) in inodes:
                    return pid
    raise AssertionError("nobody reads from it")


async def test_workers_killed_worker_is_declared_and_counts_stay_exact(tmp_path, monkeypatch) -> None:
    """After kill -9 of one worker every part is counted once, its unit declares the gap, and the other machine was polled all the time."""
    line = Line(tmp_path, monkeypatch)
    async with line.running():
        first, second = line.machines
        await until(lambda: len(first.asked) > 3 and len(second.asked) > 3)
        assert len(workers()) == 2
        for machine in line.machines:
            await machine.make(7)
        await until(lambda: line.counted(0) == 7 and line.counted(1) == 7)
        victim = worker_of(first)
        assert victim != (other := worker_of(second))
        assert await line.listed() == [(victim, True, 0, ["plc0"]), (other, True, 0, ["plc1"])]
        before = len(first.asked)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        for _ in range(10):
            for machine in line.machines:
                await machine.make(3)
            await asyncio.sleep(0.02)
        await until(lambda: len(first.asked) > before + 5)
        ended = time.monotonic()
        await until(lambda: line.counted(0) == 37 and line.counted(1) == 37)
        assert len(workers()) == 2
        assert await line.listed() == [(worker_of(first), True, 1, ["plc0"]), (other, True, 0, ["plc1"])]
        await until(lambda: line.of(0, "collection.gap"))
    gaps = [body(one.entry) for one in line.of(0, "collection.gap")]
    assert [gap["reason"] for gap in gaps] == ["comm_loss"]
    assert line.of(1, "collection.gap") == []
    seen = [moment for moment in second.asked if began < moment < ended]
    assert len(seen) > 0.3 * (ended - began) / 0.05
    assert [line.counted(unit) for unit in (0, 1)] == [37, 37]
    assert workers() == []


async def test_workers_that_stand_still_are_replaced(tmp_path, monkeypatch) -> None:
    """A worker that says nothing for too long is killed, and another one goes on."""
    monkeypatch.setattr(Worker.__init__, "__kwdefaults__", {"silent": 2.0})
    line = Line(tmp_path, monkeypatch)
    async with line.running():
        first = line.machines[0]
        await until(lambda: len(first.asked) > 3)
        victim = worker_of(first)
        os.kill(victim, signal.SIGSTOP)
        await first.make(5)
        await until(lambda: line.counted(0) == 5)
        assert victim not in workers()
        await until(lambda: line.of(0, "collection.gap"))
    assert {body(one.entry)["reason"] for one in line.of(0, "collection.gap")} == {"comm_loss"}


async def test_workers_do_not_heed_the_signals_of_the_agent() -> None:
    """What stops a service stops the agent first; a worker ends with its pipe."""
    worker = Worker("1")
    task = asyncio.create_task(worker.run())
    await worker.ready()
    assert worker.process is not None
    pid = worker.process.pid
    await until(lambda: "\nSigIgn:" in (text := Path(f"/proc/{pid}/status").read_text()) and _ignores(text, signal.SIGTERM))
    os.kill(pid, signal.SIGTERM)
    await asyncio.sleep(0.05)
    assert worker.process.returncode is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert worker.process.returncode == 0


async def test_workers_end_with_an_agent_that_is_killed() -> None:
    """The end of the pipe is the end of the worker, without a word before."""
    here, there = socket.socketpair()
    with there:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.agent.worker", str(there.fileno()), "info", "text", pass_fds=[there.fileno()]
        )
    here.close()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_workers_end_without_a_word_where_the_agent_goes_in_the_middle(tmp_path, monkeypatch) -> None:
    """Open connections are closed in order; what would have been told of them is told to nobody, and is no fault of the program."""
    line = Line(tmp_path, monkeypatch)
    config = line.config()
    here, there = socket.socketpair()
    with there:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.agent.worker", str(there.fileno()), "info", "text", pass_fds=[there.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    agent = await pipe(here, REPORTS)
    for machine in line.machines:
        await machine.start()
    try:
        for number, device in enumerate(config.devices):
            agent.send(Open(number, order([device], {device.device: DeviceWiring()}, config.identity)))
        opened = [await asyncio.wait_for(agent.receive(), PATIENCE) for _ in config.devices]
        assert {type(report) for report in opened} == {Opened}
        agent.close()
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        for machine in line.machines:
            await machine.server.shutdown()
    assert (process.returncode, said) == (0, b"")


def _ignores(status: str, number: int) -> bool:
    mask = next(row.partition(":")[2] for row in status.splitlines() if row.startswith("SigIgn"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_workers_batches_cross_unchanged() -> None:
    """Every kind of value, notice, snapshot and mark arrives as it left; arrays are tuples, those inside of them, too."""
    batch = Batch(
        "dev", 5, [0, 1, 2, 3, 4, 5, 6], [True, -(2**63), 2**64 - 1, 1.5, "text", b"\0\xff", (1, ("a", (2.5, None)))],
        [0] * 7, [1] * 7, [0] * 7, {3: "why"}, (Snapshot("g", 0, 2),),
        (DeviceUp("dev", 4), Boot("dev", 4, "b", 3)), (Gap("dev", "comm_loss", 1, 2, ("a",), 3),), 4, True,
        Mark("line", 3, {0: 5}, b"\0facts", 1),
    )  # fmt: skip
    crossed = REPORTS.decode(msgspec.msgpack.encode(Batches(3, crossing([batch, Batch("dev", 6)]))))
    assert isinstance(crossed, Batches)
    assert arrived(crossed.batches) == [batch, Batch("dev", 6)]
    assert [type(value) for value in arrived(crossed.batches)[0].values] == [type(value) for value in batch.values]


@pytest.mark.parametrize(
    "error",
    [DisconnectedError("cut"), UntrustedError("cert_changed", "another certificate", "trust it"), ConfigError("no such tag")],
)
def test_workers_errors_cross_with_what_they_know(error: DisconnectedError | ConfigError) -> None:
    """How slowly to try again, and what a person has to do, is known on the agent's side as it was on the worker's."""
    there = failure(1, error)
    assert isinstance(there, Failed)
    back = error_of(there)
    assert str(back) == str(error)
    assert isinstance(back, ConfigError) == isinstance(error, ConfigError)
    if isinstance(error, DisconnectedError) and isinstance(back, DisconnectedError):
        assert (back.slow, back.fault, back.remedy, back.planned) == (error.slow, error.fault, error.remedy, error.planned)


@pytest.mark.parametrize(("workers", "ok"), [(0, True), (4, True), (16, True), (-1, False), (17, False)])
def test_workers_are_a_few(workers: int, ok: bool) -> None:
    """Up to sixteen; none is the default."""
    whole = {
        "version": 1, "agent": "a", "site": ["s"], "buffer": {"path": "/tmp/x"}, "workers": workers,
        "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
    }  # fmt: skip
    if ok:
        assert AgentFile.model_validate(whole).workers == workers
        assert AgentFile.model_validate({key: value for key, value in whole.items() if key != "workers"}).workers == 0
    else:
        with pytest.raises(ValidationError):
            AgentFile.model_validate(whole)
