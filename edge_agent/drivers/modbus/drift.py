"""A look at Modbus devices for people: do they answer, and can every block be read? Only the planned reads are sent, and never twice for long.

A block that a device refuses is read in halves, and they in halves, until the tags at fault are named. Modbus has no clock, no types and no user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.decode import Decoder
from edge_agent.drivers.modbus.dial import Dial
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.plan import Block, plan
from edge_agent.drivers.modbus.split import Cuts, search, units
from edge_agent.drivers.modbus.wire import BUSY, TARGET, RefusedError, Reply, SilentError, Wire
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.inspection import Inspection
from edge_agent.model.instant import NS
from edge_agent.model.reading import Quality
from edge_agent.ports import PlantClock

_MOST_ASKED: Final = 100
"""Requests to one device that look for the tags at fault in what it refuses."""
_MOST_SILENT: Final = 2
"""Blocks in a row without an answer after which a device is given up."""


class _Line:
    """One connection to an endpoint; after an answer that stayed out, or came wrong, it is a new one."""

    def __init__(self, configs: Sequence[ModbusConfig], clock: PlantClock) -> None:
        self._dial = Dial(configs, clock.now)
        self._wire: Wire | None = None

    async def open(self) -> Wire:
        """Return the connection. Raises DisconnectedError."""
        if self._wire is None or self._wire.lost is not None:
            await self._drop()
            self._wire = await self._dial.open(lambda: None)
        return self._wire

    async def read(self, config: ModbusConfig, block: Block) -> Reply:
        """Ask once, and once more when the device is busy. Raises RefusedError, SilentError, InvalidReplyError, DisconnectedError."""
        for last in (False, True):
            wire = await self.open()
            await asyncio.sleep(config.pause / NS)
            try:
                return await wire.read(config.unit_id, block, config.timeout / NS)
            except RefusedError as refusal:
                if refusal.code in TARGET:
                    raise SilentError(str(refusal), clean=True) from refusal
                if last or refusal.code not in BUSY:
                    raise
            except (SilentError, InvalidReplyError):
                await self._drop()  # a late answer must not meet the next request
                raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close the connection, if there is one, and give the port back."""
        await self._drop()
        await self._dial.close()

    async def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


async def inspect(configs: Sequence[ModbusConfig], clock: PlantClock, found: Mapping[str, Inspection]) -> None:
    """Note in ``found``, by device, how the devices behind one endpoint are."""
    line = _Line(configs, clock)
    left = list(configs)
    try:
        await line.open()
        while left:
            await _look(line, left[0], found[left[0].device])
            left.pop(0)
    except DisconnectedError as error:
        for config in left:
            one = found[config.device]
            one.say("error", "lost" if one.answered else "unreachable", str(error))
    finally:
        await line.close()


async def _look(line: _Line, config: ModbusConfig, one: Inspection) -> None:
    blocks = plan(fields_of(config), config.limits)
    one.facts |= {
        "unit": config.unit_id,
        "blocks": {"planned": len(blocks), "read": 0},
        "tags": {"configured": len(config.tags), "found": 0},
    }
    loop = asyncio.get_running_loop()
    silent, left = 0, _MOST_ASKED
    lasted: dict[int, float] = {}
    for block in blocks:
        began = loop.time()
        try:
            reply = await line.read(config, block)
        except SilentError as error:
            silent += 1
            _silent(config, block, error, one)
            if silent >= _MOST_SILENT or not one.answered:
                return
        except InvalidReplyError as error:
            text = f"what came is no answer to a read of {block.name} ({error})"
            one.say("error", "invalid_reply", text, remedy="is another master on the gateway?")
            return
        except RefusedError as refusal:
            one.answered, silent = True, 0
            left -= await _search(line, config, block, refusal, one, left)
        else:
            one.answered, silent = True, 0
            _values(block, reply, one)
        lasted[block.period] = lasted.get(block.period, 0.0) + loop.time() - began
    _slow(lasted, one)


def _silent(config: ModbusConfig, block: Block, error: SilentError, one: Inspection) -> None:
    if error.clean:
        one.say("error", "unit_silent", f"unit {config.unit_id}: {error}", remedy="look at the gateway and at unit_id")
        return
    waited = f"within {config.timeout / NS:g} s"
    if one.answered:
        one.say(
            "error", "block_silent", f"no answer to a read of {block.name} {waited}", remedy="lower max_registers, or raise timeout"
        )
    else:
        text = f"it takes the connection, and unit {config.unit_id} does not answer a read of {block.name} {waited}"
        one.say("error", "unit_silent", text, remedy="is unit_id right (many devices want 1 or 255), is the unit on?")


async def _search(line: _Line, config: ModbusConfig, block: Block, refusal: RefusedError, one: Inspection, most: int) -> int:
    """Find the tags at fault in a refused block, as polling does, and name them; returns how many requests that took."""
    looking, asked, refused = search(block), 0, len(units(block)) == 1
    if refused:
        _refused(block, refusal, one)
        return 0
    part = next(looking)
    while asked < most:
        asked += 1
        try:
            _values(part, await line.read(config, part), one)
        except RefusedError as own:
            answered = False
            if len(units(part)) == 1:
                refused = True
                _refused(part, own, one)
        except (SilentError, InvalidReplyError) as error:
            one.say("error", "block_silent", f"no answer to a read of {part.name}: {error}", tag=part.fields[0].name)
            return most
        else:
            answered = True
        try:
            part = looking.send(answered)
        except StopIteration as end:
            if not refused:
                _borders(block, refusal, one, end.value)
            return asked
    one.say("error", "block_refused", f"{block.name}: {refusal}", remedy="more tags are refused than are looked for")
    return asked


def _refused(block: Block, refusal: RefusedError, one: Inspection) -> None:
    for field in block.fields:
        one.say("error", "refused", f"{block.name}: {refusal}", tag=field.name, remedy="compare with the device's register list")


def _borders(block: Block, refusal: RefusedError, one: Inspection, cuts: Cuts) -> None:
    at = ", ".join(str(address) for _, address in sorted(cuts))
    remedy = "every tag can be read, but not all in one request: lower max_gap, max_registers or max_bits"
    one.say("error", "block_refused", f"{block.name}: {refusal}; it answers up to and from address {at}", remedy=remedy)


def _values(block: Block, reply: Reply, one: Inspection) -> None:
    one.facts["blocks"]["read"] += 1
    one.facts["tags"]["found"] += len(block.fields)
    for field, (_, quality, detail) in zip(block.fields, Decoder(block).samples(reply.raw), strict=True):
        if quality is Quality.BAD:
            one.say("warning", "no_value", f"it has no value now: {detail}", tag=field.name)


def _slow(lasted: Mapping[int, float], one: Inspection) -> None:
    """Say where reading once takes longer than the poll period."""
    one.facts["read_ms"] = round(1000 * sum(lasted.values()), 1)
    load = sum(took * NS / period for period, took in lasted.items())
    if load > 1:
        text = f"reading everything once took {one.facts['read_ms']:g} ms: {load:.1f} times as long as the poll periods allow"
        one.say("warning", "too_slow", text, remedy="raise poll, or put tags side by side")
