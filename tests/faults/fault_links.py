"""Links for the fault bench: one that can be spoiled, and one that takes TLS off before a broker that knows none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import trustme

from simulators.faults import Link


@contextlib.asynccontextmanager
async def linked(port: int, seed: int) -> AsyncIterator[Link]:
    """A link before ``port`` that can be spoiled."""
    link = Link("127.0.0.1", 0, ("127.0.0.1", port), seed=seed)
    await link.listen()
    try:
        yield link
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def tls_front(folder: Path, target: int) -> AsyncIterator[int]:
    """Take TLS off before ``target`` and return the port; the CA to believe is in ca.pem. So a flipped bit is noticed, as in a plant that uses TLS."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            ways = [asyncio.create_task(carry(reader, far_writer)), asyncio.create_task(carry(far_reader, writer))]
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
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until an end."""
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
