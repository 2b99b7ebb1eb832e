"""A Modbus TCP server that costs little: ``python -m benchmarks.source_modbus [--changing PERCENT]``.

Every read of a block counts on: the register at address ``a`` has ``(a + n) mod 65536`` when it was changed n times, so that whoever gets the
values sees a lost, repeated, swapped or invented one. With ``--changing 100`` a block is a slice of one table; with less, every read changes
so many percent of its registers, each in its turn.

Function 3 (read holding registers) for any unit; everything else is refused (Modbus Application Protocol 1.1b3, 6.3 and 7). Prints
``{"port": ...}`` and then, for every line on its standard input, its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
from typing import Any

from benchmarks.standing import until_told

_TABLE = struct.pack(">131072H", *range(65536), *range(65536))
_MOST = 125


class Registers:
    """What was read how often; `answer` gives the next values."""

    def __init__(self, changing: int) -> None:
        self._step = 100 // changing if changing else 0
        self._reads: dict[tuple[int, int, int], int] = {}
        self._data: dict[tuple[int, int, int], bytearray] = {}
        self.produced = self.requests = 0

    def answer(self, unit: int, first: int, count: int) -> bytes:
        """Return ``count`` registers from ``first`` on; the first time each is its own address."""
        block = unit, first, count
        reads = self._reads.get(block, -1) + 1
        self._reads[block] = reads
        self.requests += 1
        if self._step == 1 or not reads:
            self.produced += count
            start = (first + (reads if self._step else 0)) & 0xFFFF
            self._data.setdefault(block, bytearray(_TABLE[2 * first : 2 * (first + count)]))
            return _TABLE[2 * start : 2 * (start + count)]
        data = self._data[block]
        for place in range(reads % self._step, count, self._step) if self._step else ():
            (value,) = struct.unpack_from(">H", data, 2 * place)
            struct.pack_into(">H", data, 2 * place, (value + 1) & 0xFFFF)
            self.produced += 1
        return bytes(data)

    def figures(self) -> dict[str, Any]:
        """Return registers that changed, and requests answered."""
        return {"produced": self.produced, "requests": self.requests, "waiting": 0}


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer whole frames."""
        self._pending += data
        while len(self._pending) >= 12:
            (size,) = struct.unpack_from(">H", self._pending, 4)
            if len(self._pending) < 6 + size:
                return
            frame, self._pending = self._pending[: 6 + size], self._pending[6 + size :]
            self._transport.write(self._answer(frame))

    def _answer(self, frame: bytes) -> bytes:
        transaction, _, _, unit, function = struct.unpack_from(">HHHBB", frame)
        if function != 3:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 1)
        first, count = struct.unpack_from(">HH", frame, 8)
        if not 1 <= count <= _MOST:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, 0x83, 3)
        return struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, 3, 2 * count) + self._registers.answer(
            unit, first, count
        )


async def serve(registers: Registers) -> None:
    """Listen on a free port until standard input ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Link(registers), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await until_told(registers.figures)
    server.close()


def main() -> None:
    """Run."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--changing", type=int, default=100, help="percent of the registers that a read finds changed; 0: none ever"
    )
    asyncio.run(serve(Registers(options.parse_args().changing)))


if __name__ == "__main__":
    main()
