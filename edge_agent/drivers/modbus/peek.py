"""Read some registers of a device several times, for people who want to find out what stands in them. Only reads, on a connection of its own.

The registers around those that were asked for are read too, where the device lets them be read: a value that is off by one is seen
so. A device that refuses a range is asked for less, down to one register.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.connection import endpoint
from edge_agent.drivers.modbus.dial import Dial
from edge_agent.drivers.modbus.field import is_bits
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.printed import Asked
from edge_agent.drivers.modbus.wire import BUSY, RefusedError, Reply, SilentError, Wire
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.instant import NS
from edge_agent.ports import PlantClock

AROUND: Final = 2
"""Registers before and behind those that were asked for: the widest step that vendors' tables are wrong by."""
_BUSY: Final = 0.2
_TRIES: Final = 3
_LESS: Final = frozenset({2, 3})
"""Exceptions by which a device says that it does not have all of a range, or not at once."""
_REMEDY: Final = {
    1: "try the other area: --area input, or --area holding",
    2: "look at the register list: does it count from 1 (--base 1), is it another area (--area input)?",
    3: "ask for fewer registers",
    4: "the device has trouble of its own; try again, or another register",
    10: "look at --unit-id and at the gateway's list of units",
    11: "is the unit on, is --unit-id right?",
}


class Look(NamedTuple):
    """The data bytes of each read, from address ``first`` on, and the plant times (UTC ns) when they arrived."""

    first: int
    reads: tuple[bytes, ...]
    times: tuple[int, ...]


class RefusedLookError(DisconnectedError):
    """The device answers, and will not let these registers be read; trying again would not help."""


async def look(
    config: ModbusConfig, asked: Asked, reads: int, every: float, clock: PlantClock, progress: Callable[[str], None]
) -> Look:
    """Read ``reads`` times, ``every`` machine seconds apart. Raises DisconnectedError with the remedy when the device does not answer or refuses."""
    line = _Line(config, clock)
    try:
        block, reply = await _first(line, asked, config.limits.of(asked.area))
        found = [reply]
        loop = asyncio.get_running_loop()
        due = loop.time()
        while len(found) < reads:
            due += every
            progress(f"{len(found)} of {reads} reads")
            await asyncio.sleep(max(0.0, due - loop.time()))
            found.append(await line.read(block))
    except RefusedError as refusal:
        text = str(refusal).partition(";")[0]
        remedy = _REMEDY.get(refusal.code, "see the device's manual")
        raise RefusedLookError(
            f"unit {config.unit_id} at {endpoint(config)} refuses to be read at {asked.area} {asked.address}: {text}; {remedy}"
        ) from refusal
    finally:
        await line.close()
    return Look(block.address, tuple(reply.raw for reply in found), tuple(reply.at for reply in found))


async def _first(line: _Line, asked: Asked, most: int) -> tuple[Block, Reply]:
    """Read the widest range that the device gives. Raises RefusedError of the narrowest."""
    *ranges, narrowest = _ranges(asked, most)
    for first, count in ranges:
        block = Block(asked.area, first, count, NS, ())
        try:
            return block, await line.read(block)
        except RefusedError as error:
            if error.code not in _LESS:
                raise
    block = Block(asked.area, *narrowest, NS, ())
    return block, await line.read(block)


def _ranges(asked: Asked, most: int) -> Iterator[tuple[int, int]]:
    """Yield address and number of what to try, the widest first; ``most`` is what the device answers at once."""
    told = set()
    around = 0 if is_bits(asked.area) else AROUND
    for before, behind in ((around, around), (0, around), (around, 0), (0, 0)):
        first = max(0, asked.address - before)
        count = min(asked.address + asked.many + behind, 65_536) - first
        if count <= most and (first, count) not in told:
            told.add((first, count))
            yield first, count
    for count in (most, 2, 1):
        if count < asked.many:
            yield asked.address, count


class _Line:
    """One connection; after an answer that stayed out, or came wrong, it is a new one."""

    def __init__(self, config: ModbusConfig, clock: PlantClock) -> None:
        self._config, self._dial = config, Dial([config], clock.now)
        self._wire: Wire | None = None

    async def read(self, block: Block) -> Reply:
        """Ask, again when the device is busy or one answer is lost. Raises RefusedError, or DisconnectedError that says why."""
        config = self._config
        silent: Exception | None = None
        for _ in range(_TRIES):
            wire = await self._open()
            await asyncio.sleep(config.pause / NS)
            try:
                return await wire.read(config.unit_id, block, config.timeout / NS)
            except RefusedError as refusal:
                if refusal.code not in BUSY:
                    raise
                silent = refusal
                await asyncio.sleep(_BUSY)
            except (SilentError, InvalidReplyError) as error:
                silent = error
                await self._drop()  # a late answer must not meet the next request
        raise DisconnectedError(self._why(block, silent)) from silent

    def _why(self, block: Block, error: Exception | None) -> str:
        where, unit = endpoint(self._config), self._config.unit_id
        if isinstance(error, InvalidReplyError):
            return f"what {where} sends is no answer to a read of {block.name} ({error}); does another master use the same gateway?"
        if isinstance(error, RefusedError):
            return f"unit {unit} at {where} is busy each time it is asked ({error}); try again later"
        waited = f"{self._config.timeout / NS:g} s"
        line = "" if self._config.serial is None else ", are --baud, --parity and the wires (A and B swapped?)"
        return (
            f"{where} is there, and unit {unit} does not answer a read of {block.name} within {waited}; "
            f"is --unit-id right (many devices want 1 or 255){line}, is the unit on? a slow one needs --timeout 3s"
        )

    async def _open(self) -> Wire:
        if self._wire is None or self._wire.lost is not None:
            await self._drop()
            self._wire = await self._dial.open(lambda: None)
        return self._wire

    async def close(self) -> None:
        """Close the connection, if there is one, and give the port back."""
        await self._drop()
        await self._dial.close()

    async def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
