"""A line protocol on a UNIX socket, by which a test changes a simulator while it runs.

One request a line, one answer a line: ``ok``, ``ok TEXT``, or ``error TEXT``. What the requests are is the simulator's matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from simulators.listening import stop_listening

Answer = Callable[[str], Awaitable[str]]
"""Does what a line says and returns the text of the answer; ValueError is answered as an error."""


@asynccontextmanager
async def control(path: Path | None, answer: Answer) -> AsyncIterator[None]:
    """Serve requests on a UNIX socket while the block runs; nothing without a path."""
    if path is None:
        yield
        return
    serving: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = serving[writer] = asyncio.Event()
        try:
            while line := await reader.readline():
                writer.write(await _answered(answer, line.decode(errors="replace").strip()))
                await writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone
        finally:
            writer.close()
            del serving[writer]
            ended.set()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - one call on a local file system
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        await stop_listening(server)
        handlers = list(serving.values())
        for writer in serving:
            writer.transport.abort()
        await asyncio.gather(*(ended.wait() for ended in handlers))
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - see above


async def _answered(answer: Answer, line: str) -> bytes:
    try:
        text = await answer(line)
    except ValueError as error:
        return f"error {error}\n".encode()
    return f"ok {text}".rstrip().encode() + b"\n"


async def ask(path: Path, line: str) -> str:
    """Send one request and return the text of its answer; raises ValueError when it is an error."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line.encode() + b"\n")
        word, _, text = (await reader.readline()).decode().strip().partition(" ")
    finally:
        writer.close()
    if word != "ok":
        raise ValueError(text or f"no answer to {line!r}")
    return text
