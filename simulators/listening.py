"""The end of listening, without losing who is just being accepted."""

from __future__ import annotations

import asyncio

_TURNS = 5
"""Turns of the loop in which an accepted socket becomes a connection that its handler knows."""


async def stop_listening(server: asyncio.Server) -> None:
    """Close the port. Whoever was accepted before is a connection when this returns, and can be ended like the others.

    A server that is closed at once leaves such a socket open with nobody behind it (asyncio, gh-109564): its caller would wait for an answer.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()
