"""A serial line with units on it, made by hand for the tests: over TCP (a gateway that passes bytes on) or a pseudo-terminal.

The checksums are pymodbus's, not ours: an independent witness.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tty
from binascii import hexlify, unhexlify
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from modbus_plc import Asked
from pymodbus.framer import FramerAscii, FramerRTU

from edge_agent.drivers.modbus.config import ModbusConfig
from simulators.listening import stop_listening

Send = Callable[[bytes], None]
Trick = Callable[[Asked, bytes, Send], Awaitable[None]]
"""What to do instead of sending the right answer (second argument)."""


def wrapped(body: bytes, framing: str) -> bytes:
    """Return unit and PDU as a frame."""
    if framing == "rtu":
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
    return b":" + hexlify(body + bytes([FramerAscii.compute_LRC(body)])).upper() + b"\r\n"


@dataclass
class Line:
    """Units that answer one after another: register ``a`` of unit ``u`` holds ``value(u, a)``; ``tricks`` by the number of the request."""

    framing: str = "rtu"
    value: Callable[[int, int], int] = lambda unit, address: address
    tricks: dict[int, Trick] = field(default_factory=dict)
    always: Trick | None = None
    silent: set[int] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    path: str = ""

    def answer(self, asked: Asked) -> bytes:
        """Return the right answer."""
        values = [self.value(asked.unit, asked.address + n) for n in range(asked.count)]
        if asked.function in {3, 4}:
            data = struct.pack(f">{asked.count}H", *values)
        else:
            data = sum((value & 1) << n for n, value in enumerate(values)).to_bytes((asked.count + 7) // 8, "little")
        return wrapped(bytes([asked.unit, asked.function, len(data)]) + data, self.framing)

    async def work(self, requests: asyncio.Queue[bytes], send: Callable[[bytes], None]) -> None:
        """Answer what stands in the queue, one after another."""
        while True:
            request = await requests.get()
            self.received += request
            body = request[:-2] if self.framing == "rtu" else unhexlify(request[1:-2])[:-1]
            assert wrapped(body, self.framing) == request
            asked = Asked(0, *struct.unpack(">BBHH", body))
            number = len(self.asked)
            self.asked.append(asked)
            self.times.append(asyncio.get_running_loop().time())
            if asked.unit in self.silent:
                continue
            if (trick := self.tricks.get(number, self.always)) is None:
                send(self.answer(asked))
            else:
                await trick(asked, self.answer(asked), send)

    def cut(self, buffer: bytearray, requests: asyncio.Queue[bytes]) -> None:
        """Move whole requests from ``buffer`` to the queue."""
        size = 8 if self.framing == "rtu" else 17
        while len(buffer) >= size:
            requests.put_nowait(bytes(buffer[:size]))
            del buffer[:size]


@asynccontextmanager
async def over_tcp(line: Line) -> AsyncIterator[Line]:
    """Put the line behind a gateway; what a unit says is passed on to whoever is connected by then, as serial device servers do."""
    requests: asyncio.Queue[bytes] = asyncio.Queue()
    newest: list[asyncio.StreamWriter] = []
    writers: set[asyncio.StreamWriter] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.connections += 1
        newest[:] = [writer]
        writers.add(writer)
        buffer = bytearray()
        try:
            while data := await reader.read(100):
                buffer += data
                line.cut(buffer, requests)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", line.port)
    line.port = server.sockets[0].getsockname()[1]
    working = asyncio.create_task(line.work(requests, lambda data: newest[0].write(data)))  # noqa: PLW0108 - the newest at that time
    try:
        yield line
    finally:
        await stop_listening(server)
        working.cancel()
        for writer in tuple(writers):
            writer.transport.abort()
        await asyncio.gather(working, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def over_pty(line: Line) -> AsyncIterator[Line]:
    """Put the line at the other end of a pseudo-terminal."""
    loop = asyncio.get_running_loop()
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    line.path = os.ttyname(slave)
    requests: asyncio.Queue[bytes] = asyncio.Queue()
    buffer = bytearray()

    def readable() -> None:
        buffer.extend(os.read(master, 1000))
        line.cut(buffer, requests)

    loop.add_reader(master, readable)
    working = asyncio.create_task(line.work(requests, lambda data: os.write(master, data) and None))
    try:
        yield line
    finally:
        loop.remove_reader(master)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        os.close(master)
        os.close(slave)


@asynccontextmanager
async def bridge() -> AsyncIterator[tuple[str, str]]:
    """Two pseudo-terminals that hear each other: the ends of a cable."""
    loop = asyncio.get_running_loop()
    ends = [os.openpty(), os.openpty()]
    for master, slave in ends:
        tty.setraw(slave)
        os.set_blocking(master, False)

    def pass_on(source: int, target: int) -> None:
        os.write(target, os.read(source, 1000))

    (left, left_end), (right, right_end) = ends
    loop.add_reader(left, pass_on, left, right)
    loop.add_reader(right, pass_on, right, left)
    try:
        yield os.ttyname(left_end), os.ttyname(right_end)
    finally:
        loop.remove_reader(left)
        loop.remove_reader(right)
        for pair in ends:
            for end in pair:
                os.close(end)


def unit(line: Line, *, name: str = "dev", unit_id: int = 1, tags: dict | None = None, **more: object) -> ModbusConfig:
    """Return a configuration of a unit on the line; without ``tags`` it has r0, r1, r2 as holding registers."""
    tags = tags or {f"r{a}": {"register": "holding", "address": a} for a in range(3)}
    way = {"serial": line.path, "data_bits": 8, "parity": "none"} if line.path else {"host": "127.0.0.1", "port": line.port}
    base = {"version": 1, "device": name, "driver": "modbus", "framing": line.framing, "unit_id": unit_id, **way}
    return ModbusConfig.model_validate({**base, "poll": "20ms", "timeout": "100ms", "tags": tags, **more})
