"""Thirty units behind one gateway, in virtual time: an event loop that jumps to the next timer, and a serial bus that one request holds at a time."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from modbus_plc import T0

from edge_agent.drivers.modbus.acquire import Acquisition
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import RefusedError, Reply, SilentError
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceUp
from edge_agent.ports import DeviceWiring

UNITS = 30
ANSWER = 0.02
"""Seconds that a healthy unit holds the bus."""

RECONNECT = 0.003


class _Jump(selectors.SelectSelector):
    """Nothing ever arrives from outside; waiting only moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes as fast as it can be computed."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run a scene in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene)


class VirtualClock:
    """The plant clock of a virtual loop."""

    speed = 1.0

    def now(self) -> int:
        return T0 + round(asyncio.get_running_loop().time() * 1e9)

    async def sleep_until(self, instant: int) -> None:
        await asyncio.sleep(max(0.0, (instant - self.now()) / 1e9))


@dataclass
class Gateway:
    """``silent`` units never answer: the gateway waits ``patience`` s for them, and says exception 11 then when ``reports``. ``slow``: s of an answer."""

    silent: set[int] = field(default_factory=set)
    slow: dict[int, float] = field(default_factory=dict)
    every_second: set[int] = field(default_factory=set)
    patience: float = 0.0
    reports: bool = False
    answered: Counter[int] = field(default_factory=Counter)
    asked: Counter[int] = field(default_factory=Counter)
    at: dict[int, list[float]] = field(default_factory=dict)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    free_at: float = 0.0
    refuse: bool = False
    closes_after: int = 0

    async def connect(self, on_lost: Callable[[], None]) -> GatewayWire:
        """Open one connection."""
        self.connections += 1
        await asyncio.sleep(RECONNECT)
        if self.refuse:
            raise DisconnectedError("refused")
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        return GatewayWire(self, on_lost)


class GatewayWire:
    """One connection to the gateway (see `wire.Wire`)."""

    def __init__(self, gateway: Gateway, on_lost: Callable[[], None]) -> None:
        self.lost: str | None = None
        self.latency = 0.0
        self._gateway = gateway
        self._on_lost = on_lost
        self._answers = 0
        self._open = True

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        loop, gateway = asyncio.get_running_loop(), self._gateway
        if self.lost is not None:
            raise DisconnectedError(self.lost)
        gateway.asked[unit] += 1
        gateway.at.setdefault(unit, []).append(loop.time())
        begins = max(loop.time(), gateway.free_at)
        dead = unit in gateway.silent or (unit in gateway.every_second and gateway.asked[unit] % 2 == 0)
        lasts = gateway.patience if dead else gateway.slow.get(unit, ANSWER)
        gateway.free_at = begins + lasts
        wait = gateway.free_at - loop.time()
        if wait > timeout or (dead and not gateway.reports):
            await asyncio.sleep(timeout)
            raise SilentError("silent")
        await asyncio.sleep(wait)
        self.latency = wait
        now = T0 + round(loop.time() * 1e9)
        if dead:
            raise RefusedError(11, now)
        gateway.answered[unit] += 1
        self._answers += 1
        if gateway.closes_after and self._answers >= gateway.closes_after:
            loop.call_soon(self._closed)
        return Reply(bytes(2 * block.count), now, now)

    def _closed(self) -> None:
        self.lost = "closed"
        self._on_lost()

    async def identify(self, unit: int, category: int, first: int, timeout: float) -> bytes:
        raise AssertionError("nobody asked for that")

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._gateway.open_now -= 1


@dataclass
class Outcome:
    """Polls a second that the units not in trouble had, and what was reported."""

    rate: float
    batches: list[Batch]
    gateway: Gateway


async def run(
    gateway: Gateway, *, poll: str, seconds: float, timeout: str = "1s", units: int = UNITS, trouble: set[int] | None = None,
    change: Callable[[list[Device]], None] | None = None, then: Callable[[], None] | None = None, more: float = 0.0,
) -> Outcome:  # fmt: skip
    """Poll ``units`` for ``seconds`` of virtual time from the moment that ``trouble`` begins, and for ``more`` after ``then``."""
    clock = VirtualClock()
    silent, slow, second = gateway.silent, gateway.slow, gateway.every_second
    gateway.silent, gateway.slow, gateway.every_second = set(), {}, set()
    devices = [Device(config(unit, poll, timeout), DeviceWiring(), shared=units > 1) for unit in range(1, units + 1)]
    if change is not None:
        change(devices)
    acquisition = Acquisition(devices, clock, gateway.connect)
    await acquisition.start()
    running = asyncio.create_task(acquisition.run())
    await asyncio.sleep(5)
    early = await acquisition.outlet.take()
    gateway.silent, gateway.slow, gateway.every_second = silent, slow, second
    before = gateway.answered.copy()
    bad = (trouble or set()) | silent | set(slow) | second
    await asyncio.sleep(seconds)
    good = sum(count for unit, count in (gateway.answered - before).items() if unit not in bad)
    if then is not None:
        then()
        await asyncio.sleep(more)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await acquisition.close()
    return Outcome(good / seconds, [*early, *await acquisition.outlet.take()], gateway)


def config(unit: int, poll: str, timeout: str) -> ModbusConfig:
    """Return unit ``unit`` with one register."""
    return ModbusConfig.model_validate(
        {
            "version": 1, "device": f"u{unit}", "driver": "modbus", "host": "gw", "unit_id": unit, "poll": poll, "timeout": timeout,
            "tags": {"r": {"register": "holding", "address": 0}},
        }
    )  # fmt: skip


def came_up(batches: list[Batch], device: str) -> list[int]:
    """Return the times at which ``device`` came up."""
    return [note.time for batch in batches for note in batch.before if isinstance(note, DeviceUp) and note.device == device]
