"""The two ways to a Modbus device: TCP connections, and a serial line that is a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from os import write

from simulators.listening import stop_listening

_AT_ONCE = 65_536


class SocketLink:
    """One TCP connection. ``held`` is an answer that was kept back, ``number`` what the ledger calls it."""

    socket = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the two ends of a stream."""
        self.held: bytes | None = None
        self.number = 0
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        """Return what has come; nothing at the end of the connection."""
        try:
            return await self._reader.read(_AT_ONCE)
        except ConnectionError:
            return b""

    async def send(self, data: bytes) -> None:
        """Send, whether or not somebody is still there."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone: that is what most misdeeds lead to

    async def close(self, *, reset: bool = False) -> None:
        """End the connection."""
        if self._writer.transport.is_closing():
            return
        if reset:
            raw: socket.socket = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        else:
            self._writer.close()


Serve = Callable[["SocketLink | LineLink"], Awaitable[None]]


class Port:
    """A TCP port that can refuse: closed for everybody (``open`` and ``shut``), or for all but the first ``most``."""

    def __init__(self, serve: Serve, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None) -> None:
        """``serve`` has a connection until it returns; with a ``context`` it is one over TLS."""
        self.host, self.port = host, port
        self.most: int | None = None
        self.accepted = 0
        self._serve = serve
        self._context = context
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], SocketLink] = {}

    async def open(self) -> None:
        """Listen, on the same port as before; nothing when it does already."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End the connections that there are, by a RST, and go on listening."""
        for link in self._links.values():
            await link.close(reset=True)

    async def shut(self) -> None:
        """Refuse new connections and end those there are."""
        if self._server is not None:
            await stop_listening(self._server)
            self._server = None
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes aborted sockets in its next turn

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link, task = SocketLink(reader, writer), asyncio.current_task()
        if task is None or (self.most is not None and len(self._links) >= self.most):
            await link.close()
            return
        self._links[task] = link
        try:
            await self._serve(link)
        except asyncio.CancelledError:
            pass  # the port is shut, which is the end of this task
        finally:
            del self._links[task]
            await link.close(reset=True)


class LineLink:
    """The device's end of a serial line; ``ends``: the descriptors of both ends, the device's first."""

    socket = False

    def __init__(self, descriptor: int, theirs: int) -> None:
        """Serve an open terminal."""
        self.ends = descriptor, theirs
        self.held: bytes | None = None
        self.number = 0
        self._descriptor = descriptor
        self._something = asyncio.Event()
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._something.set)

    async def receive(self) -> bytes:
        """Return what has come."""
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                return os.read(self._descriptor, _AT_ONCE)
            except BlockingIOError:
                continue

    async def send(self, data: bytes) -> None:
        """Send; what the line does not take, nobody reads, and is lost as on a real one."""
        with suppress(BlockingIOError):
            write(self._descriptor, data)

    async def close(self, *, reset: bool = False) -> None:
        """Do nothing: a line has no end."""

    def leave(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._descriptor)


@asynccontextmanager
async def line(serve: Serve) -> AsyncIterator[str]:
    """Serve a pseudo-terminal while the block runs; gives the path of the end that a master opens.

    The master's end stays open here too: a serial device does not notice that somebody closes a port.
    """
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    link = LineLink(ours, theirs)
    task = asyncio.ensure_future(serve(link))
    try:
        yield os.ttyname(theirs)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        link.leave()
        os.close(ours)
        os.close(theirs)
