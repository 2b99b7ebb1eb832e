"""A Modbus TCP server made by hand for the tests: it can do everything wrong, and it keeps the bytes that reached it."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edge_agent.drivers.modbus.config import ModbusConfig
from simulators.listening import stop_listening

T0 = 1_761_000_000_000_000_000


class ScaledClock:
    """A plant clock that runs ``speed`` times as fast as the machine."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start = time.monotonic_ns()
        self.stepped = 0

    def now(self) -> int:
        return T0 + self.stepped + round((time.monotonic_ns() - self._start) * self.speed)

    async def sleep_until(self, instant: int) -> None:
        while (left := instant - self.now()) > 0:  # noqa: ASYNC110 - a clock that may be stepped
            await asyncio.sleep(left / 1e9 / self.speed)
        await asyncio.sleep(0)


@dataclass
class Asked:
    """One request as it arrived."""

    tid: int
    unit: int
    function: int
    address: int
    count: int


Send = Callable[[bytes], Awaitable[None]]
Trick = Callable[[Asked, bytes, Send], Awaitable[None]]
"""What to do instead of sending the right answer (second argument)."""


def frame(tid: int, unit: int, pdu: bytes, *, protocol: int = 0, length: int | None = None) -> bytes:
    """Return a Modbus TCP frame."""
    return struct.pack(">HHHB", tid, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


@dataclass
class Plc:
    """Register ``a`` of unit ``u`` holds ``value(u, a)``; ``tricks`` maps the number of a request (from 0) to what is done wrong."""

    value: Callable[[int, int], int] = lambda unit, address: address
    tricks: dict[int, Trick] = field(default_factory=dict)
    always: Trick | None = None
    asked: list[Asked] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    connections: int = 0
    port: int = 0
    silent: set[int] = field(default_factory=set)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def answer(self, asked: Asked) -> bytes:
        """Return the right answer."""
        values = [self.value(asked.unit, asked.address + n) for n in range(asked.count)]
        if asked.function in {3, 4}:
            data = struct.pack(f">{asked.count}H", *values)
        else:
            bits = sum((value & 1) << n for n, value in enumerate(values))
            data = bits.to_bytes((asked.count + 7) // 8, "little")
        return frame(asked.tid, asked.unit, bytes([asked.function, len(data)]) + data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client goes away."""
        self.connections += 1
        self.writers.append(writer)

        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            while True:
                request = await reader.readexactly(12)
                self.received += request
                tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", request)
                asked = Asked(tid, unit, function, address, count)
                number = len(self.asked)
                self.asked.append(asked)
                trick = self.tricks.get(number, self.always)
                if asked.unit in self.silent:
                    continue
                if trick is None:
                    await send(self.answer(asked))
                else:
                    await trick(asked, self.answer(asked), send)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(plc: Plc) -> AsyncIterator[Plc]:
    """Serve on a free port of loopback."""
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await plc.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(client, "127.0.0.1", plc.port)
    plc.port = server.sockets[0].getsockname()[1]
    try:
        yield plc
    finally:
        await stop_listening(server)
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def device(port: int, *, name: str = "dev", unit: int = 1, tags: dict | None = None, **more: object) -> ModbusConfig:
    """Return a configuration; without ``tags`` it has r0, r1, r2 as holding registers."""
    tags = tags or {f"r{a}": {"register": "holding", "address": a} for a in range(3)}
    base = {"version": 1, "device": name, "driver": "modbus", "host": "127.0.0.1", "port": port, "unit_id": unit}
    return ModbusConfig.model_validate({**base, "poll": "20ms", "timeout": "100ms", "tags": tags, **more})
