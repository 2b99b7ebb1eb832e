"""A Modbus TCP device that counts parts by the clock and notes every poll: nobody has to ask the agent what it missed."""

from __future__ import annotations

import asyncio
import struct
import time
from itertools import pairwise


class Device:
    """Registers 0 and 1 count parts, 20 in a second of time; everything that was asked is noted."""

    def __init__(self) -> None:
        """Begin to make parts."""
        self.port = 0
        self.polls: list[float] = []
        self.links = self.open = 0
        self._began = time.monotonic()

    @property
    def made(self) -> int:
        """How many parts there are."""
        return 1000 + int((time.monotonic() - self._began) * 20)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client goes."""
        self.links, self.open = self.links + 1, self.open + 1
        try:
            while True:
                number, _, _, unit, function, first, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                self.polls.append(time.monotonic())
                values = [self.made % 65_536 if at in {0, 1} else at for at in range(first, first + count)]
                answer = struct.pack(f">BBB{count}H", unit, function, 2 * count, *values)
                writer.write(struct.pack(">HHH", number, 0, len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def longest(times: list[float], since: float, period: float) -> float:
    """Return the longest time between two polls from ``since`` (monotonic s) on, in periods of ``period`` s."""
    seen = [time for time in times if time >= since]
    return max(after - before for before, after in pairwise(seen)) / period
