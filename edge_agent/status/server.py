"""Serves the local API on a UNIX socket in the loop of whoever asks. What goes wrong here is logged and hurts nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from edge_agent.status.place import address

_MODE = 0o660
_GRACE = 1
"""Machine seconds that open requests get at the end."""

_LOOK = 1.0
"""Machine seconds between two looks whether the socket is still there."""

_AT_ONCE = 32
"""Requests at the same time; more are answered 503."""


def bind(path: Path) -> socket.socket:
    """Return a socket bound to ``path`` for its owner and group; a leftover of a dead process is removed. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with address(path) as name:
            _make_way(path, name)
            listener.bind(name)
        path.chmod(_MODE)  # nobody can connect before listen()
        listener.listen(_AT_ONCE)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _make_way(path: Path, name: str) -> None:
    """Remove a socket on which nobody listens any more."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, f"another agent answers on {path}")


@asynccontextmanager
async def serving(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve ``app`` at ``path`` inside the block; when the socket cannot be made this is logged, the block runs without it, and it is made later."""
    place = _Place(app, path)
    await place.open()
    over = asyncio.Event()
    keeper = asyncio.create_task(place.keep(over), name="status-socket")
    try:
        yield
    finally:
        over.set()  # not cancelled: a socket that is being made is finished, and closed below
        await keeper
        await place.close()


class _Place:
    """The socket at one path, and the server behind it, which outlives a socket that somebody deletes."""

    def __init__(self, app: ASGIApp, path: Path) -> None:
        self._server = server_of(app)
        self._path = path
        self._listener: socket.socket | None = None
        self._inode: int | None = None
        self._told = ""
        self._log = structlog.get_logger().bind(socket=str(path))

    async def open(self) -> None:
        """Make the socket and serve there; where that is not possible it is told once for each reason."""
        try:
            listener = bind(self._path)
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._told:
                self._log.error("status.not_served", reason=reason)
            self._told = reason
            return
        self._inode, self._told = _inode(self._path), ""
        if self._listener is not None:
            await accept_no_more(self._server)
            for each in self._server.servers:  # nobody can reach them any more; who is connected already stays so
                each.close()
        self._listener = listener
        await self._server.startup(sockets=[listener])
        self._log.info("status.served")

    async def keep(self, over: asyncio.Event) -> None:
        """Make the socket again when it is gone, its folder with it or not. What anybody else has put in its place is left alone."""
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await over.wait()
                return
            if not os.path.lexists(self._path):  # noqa: ASYNC240 - a name in memory or in a directory that was just looked at
                await self.open()

    async def close(self) -> None:
        """Take the socket away, if it is still ours, and end the server."""
        if self._listener is None:
            return
        if _inode(self._path) == self._inode:
            with contextlib.suppress(OSError):  # a file system that became read-only: the next start removes the leftover
                self._path.unlink(missing_ok=True)
        await accept_no_more(self._server)
        await self._server.shutdown(sockets=[self._listener])
        await hang_up(self._server)


async def accept_no_more(server: uvicorn.Server) -> None:
    """Leave further callers alone, and let those that were just accepted become connections: a server that is closed before drops theirs open.

    (asyncio, gh-109564: a transport that attaches itself to a closed server fails in its constructor.)
    """
    loop = asyncio.get_running_loop()
    for listener in [listener for each in server.servers for listener in each.sockets]:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)


async def hang_up(server: uvicorn.Server) -> None:
    """Close what was accepted while the server went away: such a connection is known to the loop some turns later."""
    for _ in range(5):
        for connection in list(server.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()
        await asyncio.sleep(0)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def server_of(app: ASGIApp, **otherwise: Any) -> uvicorn.Server:
    """Return a server that takes no signals and runs no loop of its own: `startup` and `shutdown` are called by hand; ``otherwise`` are uvicorn's."""
    settings: dict[str, Any] = {
        "interface": "asgi3",
        "lifespan": "off",
        "http": "h11",
        "ws": "none",
        "loop": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": False,
        "limit_concurrency": _AT_ONCE,
        "timeout_graceful_shutdown": _GRACE,
    }
    config = uvicorn.Config(app, **settings | otherwise)
    config.load()
    # The app logs its failures itself, and a request that is cut at the stop is none.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server
