"""The end of listening."""

import asyncio
import contextlib
import gc
import socket

import pytest

from simulators.listening import stop_listening


@pytest.mark.parametrize("turns", range(8))
async def test_whoever_is_accepted_while_a_port_closes_can_be_ended(turns):
    """A caller who arrives in the very moment of the end is known to the handler, or was never accepted; nobody waits for an answer."""
    known = []

    def serve(_reader, writer):
        known.append(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.socket() as caller:
        caller.settimeout(5)
        caller.connect(server.sockets[0].getsockname())
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop_listening(server)
        for writer in known:
            writer.transport.abort()
        await asyncio.sleep(0)
        gc.collect()
        with contextlib.suppress(ConnectionResetError):
            assert caller.recv(1) == b""
