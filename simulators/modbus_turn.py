"""One request that is to be done wrong, and the table of what can be done to it (`modbus_misdeeds` fills it)."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from simulators.modbus_framing import Framing, Request
from simulators.modbus_ledger import Entry
from simulators.modbus_stamps import Stamps

ALL = frozenset({"mbap", "rtu", "ascii"})
MBAP = frozenset({"mbap"})
RTU = frozenset({"rtu"})
ASCII = frozenset({"ascii"})
SERIAL = RTU | ASCII


class Link(Protocol):
    """One connection, or the serial line."""

    socket: bool
    held: bytes | None

    async def send(self, data: bytes) -> None:
        """Send; returns when it has left."""
        ...

    async def close(self, *, reset: bool = False) -> None:
        """End the connection, by a RST if asked; a serial line has no end."""
        ...


@dataclass
class Turn:
    """One request to be done wrong. ``timeout`` is what the client waits, machine seconds; ``pdu`` the right answer."""

    request: Request
    entry: Entry
    pdu: bytes
    framing: Framing
    link: Link
    stamps: Stamps
    timeout: float
    random: Random
    stall: Callable[[float], None]

    @property
    def whole(self) -> bytes:
        """The right answer as a frame; from now on the ledger counts it as sent."""
        self.entry.right = True
        return self.framing.wrap(self.request.unit, self.pdu, self.request.transaction)

    def foreign(self, *, unit: int | None = None, function: int | None = None, count: int | None = None) -> bytes:
        """Return the PDU of an answer to somebody else's request: other values, of the same form unless told otherwise."""
        entry = self.entry
        code = entry.function if function is None else function
        many = entry.count if count is None else count
        other = entry.unit + 1 if unit is None else unit
        return answer_pdu(code, self.stamps.read(other, code, entry.address + 5, many))

    def wrapped(self, pdu: bytes, *, unit: int | None = None, transaction: int | None = None) -> bytes:
        """Return a frame around another PDU, which nobody may believe."""
        return self.framing.wrap(
            self.request.unit if unit is None else unit, pdu, self.request.transaction if transaction is None else transaction
        )


class Misdeed(NamedTuple):
    """One misdeed: the fault class of the catalogue it belongs to, which framings know it, whether it needs a socket."""

    name: str
    fault: str
    framings: frozenset[str]
    sockets_only: bool
    act: Callable[[Turn], Awaitable[None]]
    what: str


MISDEEDS: dict[str, Misdeed] = {}
_Act = Callable[[Turn], Awaitable[None]]


def misdeed(fault: str, framings: frozenset[str] = ALL, *, sockets_only: bool = False) -> Callable[[_Act], _Act]:
    """Enter a function into the table under its own name."""

    def enter(act: _Act) -> _Act:
        name = act.__name__.replace("_", " ")
        MISDEEDS[name] = Misdeed(name, fault, framings, sockets_only, act, act.__doc__ or name)
        return act

    return enter


def answer_pdu(function: int, values: tuple[int, ...]) -> bytes:
    """Return the right answer to a read (V1.1b3, 6.1 to 6.4)."""
    if function in {3, 4}:
        return struct.pack(f">BB{len(values)}H", function, 2 * len(values), *values)
    bits = sum((value & 1) << number for number, value in enumerate(values))
    data = bits.to_bytes((len(values) + 7) // 8, "little")
    return bytes([function, len(data)]) + data
