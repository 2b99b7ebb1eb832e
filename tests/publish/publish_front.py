"""What stands before a broker in a plant: an HTTP proxy, and a WebSocket listener. Both count and remember what they were asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
from dataclasses import dataclass, field
from typing import Self

from simulators.listening import stop_listening

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Front:
    """Forwards to ``target`` (a loopback port); the way in is made by the classes below."""

    target: int = 0
    tls: ssl.SSLContext | None = None
    heads: list[bytes] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_listening(self._server)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self.serve(head, reader, writer)
        await _hang_up(writer)

    async def serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer ``head`` and carry on."""
        raise NotImplementedError


@dataclass
class HttpProxy(Front):
    """Opens tunnels; ``answer`` replaces its friendly word. Whatever the client names, the tunnel leads to ``target``."""

    answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 plant\r\n\r\n"
    login: str | None = None

    async def serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open the tunnel, or ask for credentials."""
        if self.login is not None and base64.b64encode(self.login.encode()) not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            return
        writer.write(self.answer)
        onward = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await _first(_copy(reader, onward[1]), _copy(onward[0], writer))
        finally:
            await _hang_up(onward[1])


@dataclass
class WebSocketFront(Front):
    """Speaks WebSocket before a broker: frames cut at ``cut`` bytes, a ping before each when ``pings``."""

    cut: int = 65_000
    pings: bool = False
    accept: str | None = None
    protocol: str = "mqtt"
    pongs: list[bytes] = field(default_factory=list)
    masks: set[bytes] = field(default_factory=set)
    inject: bytes = b""

    async def serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Change to WebSocket and pass the payloads on."""
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
        accept = self.accept or base64.b64encode(hashlib.sha1((fields["Sec-WebSocket-Key"] + GUID).encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {self.protocol}\r\n\r\n".encode()
        )
        onward = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await _first(self._in(reader, writer, onward[1]), self._out(onward[0], writer))
        finally:
            await _hang_up(onward[1])

    async def _in(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, writer: asyncio.StreamWriter) -> None:
        while True:
            first, second = await reader.readexactly(2)
            assert second & 0x80, "a client's frame without mask"
            size = second & 127
            if size == 126:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await reader.readexactly(8))
            mask = await reader.readexactly(4)
            self.masks.add(mask)
            body = await reader.readexactly(size)
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(body)) if size < 5000 else _fast(body, mask)
            if first & 15 == 10:
                self.pongs.append(payload)
            elif first & 15 == 8:
                back.write(b"\x88\x00")
            else:
                writer.write(payload)
                await writer.drain()

    async def _out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(self.inject)
            for start in range(0, len(data), self.cut):
                part = data[start : start + self.cut]
                if self.pings:
                    writer.write(b"\x89\x02hi")
                final = 0x80 if start + self.cut >= len(data) else 0
                head = struct.pack("!BB", final | (0 if start else 2), len(part)) if len(part) < 126 else None
                writer.write((head or struct.pack("!BBH", final | (0 if start else 2), 126, len(part))) + part)
            await writer.drain()


def _fast(body: bytes, mask: bytes) -> bytes:
    stripe = (mask * (len(body) // 4 + 1))[: len(body)]
    return (int.from_bytes(body, "big") ^ int.from_bytes(stripe, "big")).to_bytes(len(body), "big")


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _first(*work: object) -> None:
    tasks = [asyncio.ensure_future(each) for each in work]  # type: ignore[arg-type]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
