"""Values that a device changes word by word: they count only when two reads in a row bring the same.

A device that updates the registers of a counter one after the other can be read between the two: 65535 is followed by 0 or 131071 before it is
65536. No reply shows that. Two equal values in a row were not caught in between, as long as the device needs less time for the
change than lies between the two reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from edge_agent.drivers.modbus.convert import Sample
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import Reply
from edge_agent.model.reading import Quality

MOST: Final = 4
"""Reads of one poll after which a value that is never the same twice is given up."""

UNSTEADY: Final[Sample] = (None, Quality.BAD, f"no two of {MOST} reads in a row brought the same value (read_twice)")

NONE: Final[frozenset[int]] = frozenset()


async def ask_twice(ask: Callable[[Block], Awaitable[Reply]], block: Block) -> tuple[Reply, frozenset[int]]:
    """Ask for a block until its guarded values came twice in a row; returns the last answer, and the places of fields that it leaves unsteady.

    A block without such values is asked for once. What ``ask`` raises passes through.
    """
    reply = await ask(block)
    unsteady = NONE
    if block.reads == 1:
        return reply, unsteady
    for _ in range(MOST - 1):
        before, reply = reply, await ask(block)
        unsteady = differing(block, before.raw, reply.raw)
        if not unsteady:
            break
    return reply, unsteady


def differing(block: Block, before: bytes, after: bytes) -> frozenset[int]:
    """Return the places of the guarded fields whose registers, or whose scale register's, are not the same in both answers."""
    if before == after:
        return NONE
    return frozenset(
        place
        for place, field in enumerate(block.fields)
        if field.twice
        for part in (field, *([field.factor.field] if field.factor is not None else []))
        for span in [slice(2 * (part.address - block.address), 2 * (part.end - block.address))]
        if before[span] != after[span]
    )
