"""A wire whose answers carry no number: RTU, ASCII, and TCP gateways that answer with transaction 0.

There an answer that comes late fits any later request of the same shape, and every further value would stand under its neighbour's name
(pymodbus's maintainers: "can only be avoided with a sufficiently large timeout"). So a unit is *in step* only after an answer followed by silence:
devices answer one after another, so whatever it still owed has come by then. A unit that is not in step is asked once for nothing before its
answers count; it falls out of step with every answer that stays out or is wrong, and is so on each new connection.
"""

from __future__ import annotations

import contextlib
from typing import Final

from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.library import LibraryWire
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.steps import Steps
from edge_agent.drivers.modbus.wire import RefusedError, Reply

LIMIT: Final = 10.0
"""Machine seconds in which a line must have become silent."""

_TRIES: Final = 4
"""Questions for nothing after which a unit is not expected to get in step any more."""


class CarefulWire:
    """``wire`` with the care that its framing lacks (see `wire.Wire`)."""

    def __init__(self, wire: LibraryWire, steps: Steps) -> None:
        """``wire`` is open and silent."""
        self._wire = wire
        self._steps = steps

    @property
    def lost(self) -> str | None:
        """Why the connection is gone, None while it is there."""
        return self._wire.lost

    @property
    def latency(self) -> float:
        """See `wire.Wire.latency`."""
        return self._wire.latency

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        """Ask once, and before that once for nothing when the unit is not in step; see `wire.Wire.read`."""
        for _ in range(_TRIES):
            if unit in self._steps.in_step:
                break
            with contextlib.suppress(RefusedError):  # also an answer
                await self._ask(unit, block, timeout)
            if not await drained(self._wire, self._steps):
                self._steps.in_step.add(unit)
        else:
            raise InvalidReplyError("more bytes follow each answer")
        return await self._ask(unit, block, timeout)

    async def identify(self, unit: int, category: int, first: int, timeout: float) -> bytes:
        """Ask who the unit is. Only gateways that answer with transaction 0 get here (the configuration sees to it), and this answer has a shape of its own."""
        return await self._wire.identify(unit, category, first, timeout)

    async def _ask(self, unit: int, block: Block, timeout: float) -> Reply:
        known = unit in self._steps.in_step
        self._steps.in_step.discard(unit)  # an answer that nobody waited for (a cancelled request) is owed too
        reply: Reply | RefusedError
        try:
            reply = await self._wire.read(unit, block, timeout)
        except RefusedError as refusal:
            reply = refusal
        self._steps.seen(self._wire.heard_after)
        if known:
            self._steps.in_step.add(unit)
        if isinstance(reply, RefusedError):
            raise reply
        return reply

    async def close(self) -> None:
        """Close, or leave the port; see `wire.Wire.close`."""
        await self._wire.close()


async def drained(wire: LibraryWire, steps: Steps) -> bool:
    """Wait until ``wire`` is silent for as long as answers take; returns whether something came."""
    heard = await wire.drain(steps.quiet, LIMIT)
    if heard:
        steps.seen(wire.heard_after)
    return heard
