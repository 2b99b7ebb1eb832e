"""What the acquisition asks of a connection, and the three ways in which a request can fail on one (no library, no I/O)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from edge_agent.drivers.modbus.plan import Block

CONFIGURATION = frozenset({1, 2, 3})
"""Exceptions that repeat until somebody changes the configuration or the device."""

BUSY = frozenset({5, 6})
"""Exceptions that say: ask again."""

FAILURE = frozenset({4, 8})
"""Exceptions by which the device reports a failure of its own."""

TARGET = frozenset({10, 11})
"""Exceptions by which a gateway says that the unit behind it does not answer."""

_WORDS = {
    1: "illegal function: the device does not offer this register area",
    2: "illegal data address: an address in this range does not exist; correct it, or lower max_gap",
    3: "illegal data value: the device does not answer this many at once; lower max_registers or max_bits",
    4: "server device failure: the device could not read its own value",
    5: "acknowledge: the device needs longer",
    6: "server device busy",
    8: "memory parity error in the device",
    10: "gateway path unavailable: the gateway is not set up for this unit",
    11: "gateway target failed to respond: the unit behind the gateway is off, or its unit_id is wrong",
}


class Reply(NamedTuple):
    """The data bytes of a valid answer, the plant time (UTC ns) when its last byte arrived, and when it was asked for (0: unknown)."""

    raw: bytes
    at: int
    asked: int = 0


class SilentError(Exception):
    """No answer. ``clean`` when a gateway said so itself: then nothing late can arrive on this connection."""

    def __init__(self, text: str, *, clean: bool = False) -> None:
        """Say in words for people what was asked and how long was waited."""
        super().__init__(text)
        self.clean = clean


class RefusedError(Exception):
    """The device answered with an exception (V1.1b3, 7) at plant time ``at``."""

    def __init__(self, code: int, at: int) -> None:
        """Hold the exception code."""
        super().__init__(f"exception {code}, {_WORDS.get(code, 'not in the standard')}")
        self.code = code
        self.at = at


class Wire(Protocol):
    """One open connection, one request at a time. After SilentError that is not clean, or InvalidReplyError, only `close` may be called."""

    @property
    def lost(self) -> str | None:
        """Why the connection is gone, None while it is there."""
        ...

    @property
    def latency(self) -> float:
        """Machine seconds that the device took for the last answer: without the bytes' own time on a serial line, and without our care."""
        ...

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        """Ask once and return the checked answer; ``timeout`` in machine seconds.

        Raises RefusedError, SilentError, InvalidReplyError, or DisconnectedError when the peer closed.
        """
        ...

    async def identify(self, unit: int, category: int, first: int, timeout: float) -> bytes:
        """Ask who the unit is (function 43/14) from object ``first`` on; returns what follows the function code. Raises like `read`."""
        ...

    async def close(self) -> None:
        """Close at once; nothing that is still on its way is ever read."""
        ...
