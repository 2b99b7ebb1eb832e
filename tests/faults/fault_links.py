"""Links for the fault bench: one that can be spoiled, and one that takes TLS off before a broker that knows none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import trustme

from simulators.faults import Link
from simulators.lane import Lane
from simulators.listening import stop_listening


@contextlib.asynccontextmanager
async def linked(port: int, seed: int) -> AsyncIterator[Link]:
    """A link before ``port`` that can be spoiled."""
    link = Link("127.0.0.1", 0, ("127.0.0.1", port), seed=seed)
    await link.listen()
    try:
        yield link
    finally:
        await link.close()


class Front:
    """Takes TLS off; `speak` changes the certificate that it shows."""

    def __init__(self, folder: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.ca_file = folder / "ca.pem"
        self.authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._server: asyncio.Server | None = None

    def context(self, authority: trustme.CA | None = None, name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
        """Return what a server needs to show a certificate for ``name``, of our CA unless another is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.authority).issue_cert(name, key_type=trustme.KeyType.ECDSA, **options).configure_cert(context)
        return context

    async def speak(self, context: ssl.SSLContext) -> None:
        """End all connections, and show the certificate of ``context`` to the next ones."""
        await self.stop()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            await stop_listening(self._server)
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def tls_front(folder: Path, target: int) -> AsyncIterator[Front]:
    """Take TLS off before ``target``; the CA to believe is in ca.pem. So a flipped bit is noticed, as in a plant that uses TLS."""
    whole = asyncio.Event()
    whole.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front.tasks.add(task := asyncio.current_task())
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            ways = [
                asyncio.create_task(Lane().pump(reader, far_writer, whole)),
                asyncio.create_task(Lane().pump(far_reader, writer, whole)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                far_writer.transport.abort()
        except OSError:
            pass  # nobody behind us, or the other side has gone: the end of the connection says so
        finally:
            front.tasks.discard(task)
            writer.transport.abort()

    front = Front(folder, serve)
    try:
        await front.speak(front.context())
        yield front
    finally:
        await front.stop()
