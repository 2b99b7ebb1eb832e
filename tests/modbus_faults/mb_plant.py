"""One misbehaving device and the real driver against it, over every transport; what the driver hands on goes to the judge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from mb_judge import Judge, Spot
from mb_time import LINES
from mb_tls import authority, server_context

from edge_agent.agent.backoff import delays
from edge_agent.agent.link import Link, keep_open
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.model.errors import DisconnectedError
from simulators.modbus_device import FaultyDevice
from simulators.modbus_links import LineLink, Port, SocketLink, line

T0 = 1_761_000_000_000_000_000
POLL = 0.05
TIMEOUT = 0.05
"""Machine seconds. A healthy answer on loopback takes one millisecond."""

AGAIN = {False: TIMEOUT, True: 3 * TIMEOUT}
"""Machine seconds in which what is asked again at once is answered; longer where answers carry no number, and a silence is waited for in between."""

_TURN = 0.01

TAGS: dict[str, dict[str, Any]] = {
    **{f"a{n}": {"register": "holding", "address": n} for n in range(3)},
    "b0": {"register": "holding", "address": 8, "type": "uint32"},
    "b1": {"register": "holding", "address": 10},
    **{f"c{n}": {"register": "input", "address": n} for n in range(3)},
    **{f"d{n}": {"register": "coil", "address": n} for n in range(10)},
}
"""Three blocks of three registers: an answer to one has the form of an answer to the others."""

SPOTS = {
    **{f"a{n}": Spot(3, n) for n in range(3)},
    "b0": Spot(3, 8, 2),
    "b1": Spot(3, 10),
    **{f"c{n}": Spot(4, n) for n in range(3)},
    **{f"d{n}": Spot(1, n) for n in range(10)},
}


class Clock:
    """The plant clock, ``speed`` times as fast as the machine; the device's ledger has the same."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._time = asyncio.get_running_loop().time
        self._start = self._time()

    def now(self) -> int:
        return T0 + round((self._time() - self._start) * self.speed * 1e9)

    async def sleep_until(self, instant: int) -> None:
        await asyncio.sleep(max(0, instant - self.now()) / 1e9 / self.speed)


FRAMING = {"tcp": "mbap", "tls": "mbap", "rtu-tcp": "rtu", "ascii-tcp": "ascii", "rtu-line": "rtu", "ascii-line": "ascii"}
"""By transport: what stands on the wire."""


class Plant:
    """A device on a port or a line, and a link of the agent to it. ``units``: how many are behind the endpoint; the first may do wrong."""

    def __init__(
        self, transport: str, seed: int, *, speed: float = 1.0, units: int = 1, tags: dict[str, Any] = TAGS, spots: dict[str, Spot] = SPOTS, **more: Any,
    ) -> None:  # fmt: skip
        self.transport = transport
        self.numbered = FRAMING[transport] == "mbap"
        self.clock = Clock(speed)
        names = {f"dev{unit}": unit for unit in range(1, units + 1)}
        self.device = FaultyDevice(FRAMING[transport], units=names.values(), timeout=TIMEOUT, seed=seed, now=self.clock.now)
        self.device.only = lambda request: request.unit == 1
        self.port = Port(self.device.serve, context=server_context() if transport == "tls" else None)
        self.judges = {
            name: Judge(
                name,
                unit,
                spots,
                self.device.ledger,
                careful=not self.numbered,
                again=round(AGAIN[not self.numbered] * speed * 1e9),
            )
            for name, unit in names.items()
        }
        self.losses: list[str] = []
        self.seconds = 0.0
        self._seed = seed
        self._tags = tags
        self._more = more

    def configs(self, where: str) -> list[ModbusConfig]:
        """Return the devices as a user would write them; ``where`` is the serial line, or nothing."""
        base = {"version": 1, "driver": "modbus", "probe": "1s", "timeout": f"{TIMEOUT * 1000:g}ms", "tags": self._tags}
        base["poll"] = f"{POLL * self.clock.speed * 1000:g}ms"
        base |= (
            {"serial": where, "baud": 115_200, "parity": "none", "data_bits": 8}
            if where
            else {"host": "127.0.0.1", "port": self.port.port}
        )
        if not self.numbered:
            base["framing"] = self.transport.partition("-")[0]
        return [
            ModbusConfig.model_validate(base | {"device": name, "unit_id": judge.unit} | self._more)
            for name, judge in self.judges.items()
        ]

    async def _on_the_line(self, link: LineLink | SocketLink) -> None:
        assert isinstance(link, LineLink)
        path = os.ttyname(link.ends[1])
        LINES[path] = link.ends
        try:
            await self.device.serve(link)
        finally:
            del LINES[path]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Plant]:
        """Serve the device and keep a link to it open, as the agent does."""
        async with contextlib.AsyncExitStack() as stack:
            if self.transport.endswith("line"):
                where = await stack.enter_async_context(line(self._on_the_line))
            else:
                await self.port.open()
                stack.push_async_callback(self.port.shut)
                where = ""
            if self.transport == "tls":
                self._more |= {"tls": {"ca": stack.enter_context(authority().cert_pem.tempfile())}}
            configs = self.configs(where)
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(
                keep_open(
                    Link("dev", "device"), lambda: connect(configs, self.clock, {}), self._use, self._lost,
                    lambda: delays(random.Random(self._seed), longest=0.5),
                )
            )  # fmt: skip
            try:
                yield self
                assert not task.done(), f"the link ended: {task}"
            finally:
                self.seconds = asyncio.get_running_loop().time() - began
                task.cancel()
                failed = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(failed, asyncio.CancelledError | None):
                raise failed

    async def _use(self, driver: ModbusDriver) -> None:
        while True:
            batches = await driver.read()
            for judge in self.judges.values():
                judge.take(batches)

    async def _lost(self, error: DisconnectedError) -> None:
        self.losses.append(str(error))

    async def fresh(self, since: int, within: float) -> float:
        """Return the machine seconds until every register of every unit has a value asked for after ``since`` (the ledger's clock)."""
        return await self.until(lambda: all(judge.fresh(since) for judge in self.judges.values()), within)

    async def until(self, true: Callable[[], object], within: float = 5.0) -> float:
        """Return how many machine seconds it took to be so; fails after ``within`` seconds.

        They are counted in turns of the loop: on a machine with no time for us neither the driver nor its device can do anything.
        """
        began = asyncio.get_running_loop().time()
        for _ in range(round(within / _TURN)):
            if true():
                return asyncio.get_running_loop().time() - began
            await asyncio.sleep(_TURN)
        raise AssertionError(f"not within {within} s: {self.losses[-3:]}")
