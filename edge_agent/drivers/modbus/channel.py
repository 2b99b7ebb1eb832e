"""The one connection to an endpoint: one request at a time, replaced where an answer stayed out or the peer closed, never in a storm.

A connection on which an answer stayed out, or came wrong, is never used again: a late answer must not meet the next request. One that the
peer closed is replaced, too, as long as connections bring answers: many small devices close after each answer, or when nobody asks for a
while. Each place that opens one keeps the same `breaker.Pace`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edge_agent.drivers.modbus.breaker import Pace
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.wire import BUSY, TARGET, RefusedError, SilentError, Wire
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.instant import NS

T = TypeVar("T")

OpenWire = Callable[[Callable[[], None]], Awaitable[Wire]]
"""Makes one try to connect; what it is given is called when the connection is lost."""

_REPLACE_WITHIN = 1.0
"""Machine seconds in which a new connection is tried again: a gateway with one place for a client needs a moment to see that the old one left."""

_FIRST_WAIT = 0.1


class Connection:
    """Opens wires one after another and asks on them."""

    def __init__(self, open_wire: OpenWire, on_lost: Callable[[], None]) -> None:
        """Not yet connected; ``on_lost`` is called when the peer closes.

        ``slowest`` is the longest answer in s since somebody set it to 0, ``short_lived`` how many connections in a row brought one answer
        only, ``closes`` how many that had served were closed by the peer.
        """
        self.slowest = 0.0
        self.short_lived = 0
        self.closes = 0
        self._open_wire = open_wire
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._wire: Wire | None = None
        self._answers = 0
        self._answered = 0.0

    @property
    def lost(self) -> bool:
        """Whether the peer has closed the connection and nobody has cared yet."""
        return self._wire is not None and self._wire.lost is not None

    async def open(self) -> None:
        """Connect, one try; raises DisconnectedError."""
        if (wait := self._pace.wait(self._loop.time())) > 0:
            await asyncio.sleep(wait)
        self._wire = await self._open_wire(self._on_lost)
        self._answers = 0

    async def renew(self) -> None:
        """Have a connection that can be used; raises DisconnectedError when none came up in time."""
        if self._wire is not None and self._wire.lost is None:
            return
        await self.drop()
        until, wait = self._loop.time() + _REPLACE_WITHIN, _FIRST_WAIT
        while self._wire is None:
            try:
                await self.open()
            except DisconnectedError:
                if self._loop.time() + wait > until:
                    raise
                await asyncio.sleep(wait)
                wait *= 2

    async def closed(self) -> bool:
        """Care for a connection that the peer closed; returns whether it had served for a while, so that the close means something.

        One that brought answers is replaced at once, so that a device that went away is noticed; one that only stood idle when somebody asks.
        """
        served = self._answers > 1
        self.closes += served
        self.short_lived = 0 if served else self.short_lived + (self._answers == 1)
        if self._answers:
            await self.renew()
        else:
            await self.drop()
        return served

    async def drop(self) -> None:
        """Close the connection, if there is one; what is still on its way is never read."""
        if self._wire is not None:
            wire, self._wire = self._wire, None
            await wire.close()

    async def ask(self, config: ModbusConfig, name: object, request: Callable[[Wire], Awaitable[T]], patience: float) -> T:
        """Make one request; one more when the device says that it is busy, or when the peer closed a connection that had served.

        ``name`` is what is asked for, put in words when that fails; ``patience`` how long ``request`` waits, in machine seconds.
        """
        for last in (False, True):
            if self._wire is None or self._wire.lost is not None:
                await self.renew()
            if config.pause and (wait := self._answered + config.pause / NS - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            served = self._answers > 0
            try:
                return await self._once(config, name, request, patience)
            except RefusedError as refusal:
                if last or refusal.code not in BUSY:
                    raise
            except DisconnectedError as gone:
                if last or not served:
                    await self.drop()
                    raise SilentError(f"{gone} ({who(config)} was asked for {name})") from gone
                await self.closed()
        raise AssertionError("unreachable")

    async def _once(self, config: ModbusConfig, name: object, request: Callable[[Wire], Awaitable[T]], patience: float) -> T:
        if self._wire is None:
            raise DisconnectedError("the connection is closed")
        try:
            reply = await request(self._wire)
        except RefusedError as refusal:
            self._took(self._wire)
            if refusal.code in TARGET:
                raise SilentError(f"{who(config)}: {refusal}", clean=True) from refusal
            raise
        except SilentError:
            text = f"{who(config)} did not answer a read of {name} within {patience:.3g} s; is it on, is unit_id right?"
            raise SilentError(text) from None
        finally:
            self._answered = self._loop.time()
        self._took(self._wire)
        return reply

    def _took(self, wire: Wire) -> None:
        self._answers += 1
        self.slowest = max(self.slowest, wire.latency)


def who(config: ModbusConfig) -> str:
    """Return a device as people find it."""
    return f"{config.device} (unit {config.unit_id} at {config.where})"
