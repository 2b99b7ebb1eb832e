"""The driver against a device built on libmodbus, a Modbus stack of another make: over TCP, and RTU over a pair of pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.backoff import delays
from edge_agent.agent.link import Link, keep_open
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import DeviceDown, DeviceUp, Gap, TagStatus

SOURCE = Path(__file__).with_name("modbus_device.c")
UNIT = 7


def flags() -> list[str] | None:
    """Return what the compiler needs for libmodbus; None when there is no compiler or no libmodbus."""
    if shutil.which("cc") is None or shutil.which("pkg-config") is None:
        return None
    asked = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=False)
    return asked.stdout.split() if asked.returncode == 0 else None


pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        flags() is None, reason="libmodbus or a compiler is not installed (apt-get install libmodbus-dev gcc pkg-config)"
    ),
]

ORDERS = {"ABCD": 100, "DCBA": 102, "BADC": 104, "CDAB": 106}
TAGS: dict[str, dict[str, Any]] = {
    **{f"h{n}": {"register": "holding", "address": n} for n in (0, 1, 60, 199)},
    **{f"i{n}": {"register": "input", "address": n} for n in (0, 39)},
    **{f"c{n}": {"register": "coil", "address": n} for n in (0, 1, 2, 3, 17, 199)},
    **{f"d{n}": {"register": "discrete", "address": n} for n in (0, 1, 2, 3, 17, 199)},
    **{f"f{order}": {"register": "holding", "address": at, "type": "float32", "word_order": order} for order, at in ORDERS.items()},
    "g": {"register": "input", "address": 40, "type": "float32"},
    "nowhere": {"register": "holding", "address": 300},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device, compiled."""
    made = tmp_path_factory.mktemp("libmodbus") / "modbus_device"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(made), str(SOURCE), *(flags() or [])], check=True)
    return made


class WallClock:
    """The plant clock of a real plant."""

    speed = 1.0

    def now(self) -> int:
        return time.time_ns()

    async def sleep_until(self, instant: int) -> None:
        await asyncio.sleep(max(0, (instant - time.time_ns()) / 1e9))


class Stranger:
    """The device as a process; ``where`` are its words after the name."""

    def __init__(self, program: Path, *where: str) -> None:
        self._command = (str(program), *where)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; returns when it listens."""
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        async with asyncio.timeout(10):
            assert await self._process.stdout.readline() == b"ready\n"

    async def stop(self, number: int = signal.SIGTERM) -> dict[int, int]:
        """End it and return how often it saw each function code (nothing when it was killed)."""
        process, self._process = self._process, None
        if process is None:
            return {}
        process.send_signal(number)
        async with asyncio.timeout(10):
            told, _ = await process.communicate()
        words = told.decode().split()
        return {int(code): int(count) for code, _, count in (word.partition(":") for word in words[1:])}


@contextlib.contextmanager
def two_ends() -> Iterator[tuple[str, str]]:
    """Join two pseudo-terminals like the ends of a cable; gives their paths."""
    loop, descriptors = asyncio.get_running_loop(), []
    (left, left_end), (right, right_end) = os.openpty(), os.openpty()
    descriptors = [left, left_end, right, right_end]
    for terminal in (left_end, right_end):
        tty.setraw(terminal)
    loop.add_reader(left, lambda: os.write(right, os.read(left, 4096)))
    loop.add_reader(right, lambda: os.write(left, os.read(right, 4096)))
    try:
        yield os.ttyname(left_end), os.ttyname(right_end)
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
            os.close(descriptor)


class Plant:
    """What a link to the device brought."""

    def __init__(self, where: dict[str, Any]) -> None:
        base = {"version": 1, "device": "stranger", "driver": "modbus", "unit_id": UNIT, "poll": "40ms", "timeout": "300ms"}
        self.config = ModbusConfig.model_validate(base | where | {"tags": TAGS})
        self.values: dict[str, list[Any]] = {}
        self.bad: dict[str, str | None] = {}
        self.notices: list[Any] = []
        self.losses: list[str] = []

    async def _use(self, driver: ModbusDriver) -> None:
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
        opening = keep_open(
            Link("stranger", "device"), lambda: connect([self.config], WallClock(), {}), self._use, self._lost,
            lambda: delays(random.Random(1), longest=0.5),
        )  # fmt: skip
        task = asyncio.create_task(opening)
        try:
            yield self
        finally:
            task.cancel()
            failed = (await asyncio.gather(task, return_exceptions=True))[0]
        if not isinstance(failed, asyncio.CancelledError | None):
            raise failed

    async def until(self, true: Callable[[], object], within: float = 10.0) -> None:
        """Return when it is so."""
        ends = time.monotonic() + within
        while not true():
            assert time.monotonic() < ends, (self.losses[-3:], self.bad, self.values)
            await asyncio.sleep(0.02)

    def counting(self, more: int, since: int = 0) -> bool:
        """Whether every register brought ``more`` values beyond ``since`` of them."""
        return all(len(self.values.get(name, ())) >= since + more for name in TAGS if name[0] in "hi")


def understood(plant: Plant) -> None:
    """Check that every value is the one of its own register, and the floats are the number that was packed."""
    for name, values in plant.values.items():
        if name[0] in "hi":
            assert {value >> 8 for value in values} == {int(name[1:]) & 0xFF}, name
        elif name[0] == "c":
            assert set(values) == {bool((int(name[1:]) * 7 + int(name[1:]) // 3) % 2)}, name
        elif name[0] == "d":
            assert set(values) == {bool((int(name[1:]) * 5 + int(name[1:]) // 2) % 2)}, name
        else:
            assert set(values) == {123456.0}, name
    assert set(plant.values) == set(TAGS) - {"nowhere"}
    assert "exception 2" in (plant.bad["nowhere"] or "")
    assert {notice.name for notice in plant.notices if isinstance(notice, TagStatus) and not notice.ok} == {"nowhere"}


def only_reads(seen: dict[int, int]) -> None:
    """Check the device's own count of function codes."""
    assert set(seen) == {1, 2, 3, 4}, seen
    print(f"interop: libmodbus saw {sum(seen.values())} requests, function codes {sorted(seen)}, 0 writes")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def played(plant: Plant, stranger: Stranger) -> None:
    """Read, lose the device and find it again, read on."""
    await stranger.start()
    try:
        async with plant.running():
            await plant.until(lambda: plant.counting(5) and plant.bad)
            assert plant.losses == []
            await stranger.stop(signal.SIGKILL)
            await plant.until(lambda: plant.losses)
            await stranger.start()
            since = max(len(values) for values in plant.values.values())
            await plant.until(lambda: plant.counting(5, since))
    finally:
        seen = await stranger.stop()
    understood(plant)
    only_reads(seen)
    kinds = [type(notice) for notice in plant.notices if isinstance(notice, DeviceUp | DeviceDown)]
    assert kinds == [DeviceUp, DeviceDown, DeviceUp]
    assert not [notice for notice in plant.notices if isinstance(notice, Gap) and notice.reason == "invalid_reply"]


async def test_over_tcp(program: Path) -> None:
    """All four areas, the four word orders, an address that is not there, a killed device."""
    port = free_port()
    await played(Plant({"host": "127.0.0.1", "port": port}), Stranger(program, "tcp", "127.0.0.1", str(port)))


async def test_rtu_over_a_serial_line(program: Path) -> None:
    """The same over a serial line."""
    with two_ends() as (ours, theirs):
        where = {"serial": ours, "baud": 115_200, "parity": "none", "stop_bits": 1}
        await played(Plant(where), Stranger(program, "rtu", theirs, str(UNIT)))
