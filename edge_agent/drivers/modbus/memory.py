"""What the driver knows of a device when it connects again: how its blocks are read, and when it answered last."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits
from edge_agent.drivers.modbus.split import Split


class Turn(msgspec.Struct):
    """When (machine seconds) a device answered last at one address, and when it was last among the first to be asked there."""

    heard: float = 0.0
    asked: float = 0.0


class Memory:
    """What was learned of one device, from connection to connection. It is no part of what is configured: all are equal."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._splits: dict[str, Split] = {}
        self._turns: dict[str, Turn] = {}

    def of(self, block: Block, limits: Limits, fields: Sequence[Field]) -> Split:
        """Return what is known of ``block``, for a new connection; ``limits`` and ``fields`` as `Split` has them."""
        key = f"{block.name} {block.period}"
        known = self._splits.get(key)
        if known is None or known.block != block:
            known = self._splits[key] = Split(block, limits, fields)
        known.look_again()
        return known

    def turn(self, where: str) -> Turn:
        """Return when the device was asked at this address."""
        return self._turns.setdefault(where, Turn())

    def __eq__(self, other: object) -> bool:
        """What was learned makes no configuration another one."""
        return isinstance(other, Memory)

    def __hash__(self) -> int:
        """As `__eq__` demands."""
        return 0
