"""One direction of a proxied link, and what is wrong with it: delay, thin line, cut, stalls, flipped bits, silence.

A TCP proxy cannot lose a segment; what an application sees of a lost one is that everything behind it comes a retransmission later,
which is a *stall*. Bits that flip behind TCP's checksum are those of a broken middlebox or memory: rare, and real.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from dataclasses import dataclass, field

_CHUNK = 65_536
_AHEAD = 64
_SLICES = 20
_RETRANSMISSION = 0.2


class CutError(Exception):
    """The bytes after which the link is cut have passed."""


@dataclass
class Lane:
    """What one direction does to bytes; may be changed at any time. Machine seconds, bytes per second, probabilities."""

    delay: float = 0.0
    rate: float = 0.0
    """0: as fast as it goes."""
    cut_after: int = 0
    """Bytes of one connection after which both of its sides are reset; 0: never."""
    stall: float = 0.0
    """The share of chunks that come 200 ms late, and everything behind them."""
    flip: float = 0.0
    """The share of bytes of which one bit is flipped."""
    seed: int = 1
    open: asyncio.Event = field(default_factory=asyncio.Event)
    flipped: int = 0

    def __post_init__(self) -> None:
        self.open.set()
        self._random = random.Random(self.seed)

    def set(self, name: str, value: str) -> None:
        """Change one property; ``freeze=1`` lets nothing through until ``freeze=0``. Raises ValueError."""
        if name == "freeze":
            (self.open.clear if _amount(name, value) else self.open.set)()
        elif name == "seed":
            self._random = random.Random(int(_amount(name, value)))
        elif name == "cut_after":
            self.cut_after = int(_amount(name, value))
        elif name in {"delay", "rate", "stall", "flip"}:
            setattr(self, name, _amount(name, value))
        else:
            raise ValueError(f"no property {name!r}; there are delay, rate, cut_after, stall, flip, freeze, seed")

    def clear(self) -> None:
        """Be a good line again."""
        self.delay = self.rate = self.stall = self.flip = 0.0
        self.cut_after = 0
        self.open.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whole: asyncio.Event) -> None:
        """Carry bytes until the reader ends. Nothing passes while ``whole`` is not set. Raises CutError, ConnectionError."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        filling = asyncio.create_task(self._fill(reader, waiting))
        passed = 0
        try:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await whole.wait()  # a black hole swallows the goodbye too
                await self.open.wait()
                if not chunk:
                    return
                for part in self._slices(chunk):
                    passed = await self._send(writer, part, passed)
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def _fill(self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]) -> None:
        clock = asyncio.get_running_loop().time
        behind = 0.0
        with contextlib.suppress(ConnectionError):  # a reset ends the stream as a goodbye does
            while chunk := await reader.read(_CHUNK):
                late = _RETRANSMISSION if self.stall and self._random.random() < self.stall else 0.0
                behind = max(behind, clock() + self.delay + late)
                await waiting.put((behind, chunk))
        await waiting.put((max(behind, clock() + self.delay), b""))

    def _slices(self, chunk: bytes) -> list[bytes]:
        size = max(1, round(self.rate / _SLICES)) if self.rate else len(chunk)
        return [chunk[at : at + size] for at in range(0, len(chunk), size)]

    async def _send(self, writer: asyncio.StreamWriter, part: bytes, passed: int) -> int:
        cut = self.cut_after
        if cut and passed + len(part) >= cut:
            writer.write(self._noisy(part[: max(0, cut - passed)]))
            await writer.drain()
            raise CutError
        if self.rate:
            await asyncio.sleep(len(part) / self.rate)
        writer.write(self._noisy(part))
        await writer.drain()
        return passed + len(part)

    def _noisy(self, part: bytes) -> bytes:
        if not self.flip:
            return part
        noisy = bytearray(part)
        for at in range(len(noisy)):
            if self._random.random() < self.flip:
                noisy[at] ^= 1 << self._random.randrange(8)
                self.flipped += 1
        return bytes(noisy)


def _amount(name: str, value: str) -> float:
    try:
        amount = float(value)
    except ValueError:
        amount = math.nan
    most = 1 if name in {"stall", "flip"} else math.inf
    if not 0 <= amount <= most or math.isinf(amount):
        raise ValueError(f"{name}={value} will not do; give a number from 0" + (" to 1" if most == 1 else ""))
    return amount
