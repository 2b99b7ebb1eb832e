"""Serves the status page on a TCP port. Whoever is slow, idle or many is cut: nobody who only looks costs the agent a file descriptor for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_agent.model.errors import ConfigError
from edge_agent.status.config import WebConfig
from edge_agent.status.server import accept_no_more, hang_up, server_of

MOST = 48
"""Connections at the same time."""

MOST_OF_ONE = 24
"""Connections of one address at the same time."""

_LARGEST = 16_384
"""Bytes of a request's head."""

_LOOK = 1.0
"""Machine seconds between two looks at the connections."""

_AGAIN = 10.0
"""Machine seconds before a port that could not be had is tried again."""


class Patience:
    """How long a connection may take, in machine seconds: ``request`` to send one, ``answer`` to take what was sent to it."""

    def __init__(self, request: float = 10.0, answer: float = 15.0) -> None:
        """Wait so long."""
        self.request, self.answer = request, answer
        self._idle: dict[Connection, float] = {}
        self._stuck: dict[Connection, float] = {}

    def look(self, connections: set[Connection], now: float) -> None:
        """Cut those that have taken too long by ``now``; a close would wait for them to take what they do not take."""
        self._idle = {each: self._idle.get(each, now) for each in connections if each.idle}
        self._stuck = {each: self._stuck.get(each, now) for each in connections if each.stuck}
        for since, limit in ((self._idle, self.request), (self._stuck, self.answer)):
            for each, begun in since.items():
                if now - begun > limit:
                    each.transport.abort()


class Connection(H11Protocol):
    """One connection; it is refused at once where there are too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or hang up."""
        super().connection_made(transport)
        mine = Counter(each.client[0] if each.client else "" for each in self.connections if isinstance(each, Connection))
        if len(self.connections) > MOST or mine[self.client[0] if self.client else ""] > MOST_OF_ONE:
            transport.abort()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def stuck(self) -> bool:
        """Whether the other end does not take what was sent to it."""
        return self.flow is not None and self.flow.write_paused


@asynccontextmanager
async def listening(
    app: Callable[[], ASGIApp], config: WebConfig, patience: Patience | None = None, told: Callable[[str], None] = lambda _: None
) -> AsyncIterator[None]:
    """Serve what ``app`` makes inside the block; while the port or the token cannot be had this is logged and tried again.

    ``told`` is called with the page's address when it is served.
    """
    over = asyncio.Event()
    keeper = asyncio.create_task(_keep(app, config, patience or Patience(), over, told), name="status-page")
    try:
        yield
    finally:
        over.set()
        await keeper


async def _keep(
    app: Callable[[], ASGIApp], config: WebConfig, patience: Patience, over: asyncio.Event, told: Callable[[str], None]
) -> None:
    log, said = structlog.get_logger().bind(listen=config.listen), ""
    while not over.is_set():
        found = _opened(app, config)
        if isinstance(found, str):
            if found != said:
                log.error("page.not_served", reason=found)
            said = found
            await _within(over, _AGAIN)
            continue
        made, listener = found
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        log.info("page.served", address=address)
        told(address)
        await _serve(made, listener, patience, over)


def _opened(app: Callable[[], ASGIApp], config: WebConfig) -> tuple[ASGIApp, socket.socket] | str:
    """Return the app and what it is served on, or why not."""
    try:
        return app(), _bound(config)
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


async def _serve(app: ASGIApp, listener: socket.socket, patience: Patience, over: asyncio.Event) -> None:
    server = server_of(
        app,
        http=Connection,
        limit_concurrency=None,
        proxy_headers=False,
        h11_max_incomplete_event_size=_LARGEST,
        timeout_keep_alive=10,
    )
    await server.startup(sockets=[listener])
    loop = asyncio.get_running_loop()
    try:
        while not over.is_set():
            await _within(over, _LOOK)
            patience.look({each for each in server.server_state.connections if isinstance(each, Connection)}, loop.time())
    finally:
        await accept_no_more(server)
        await server.shutdown(sockets=[listener])
        await hang_up(server)


async def _within(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()


def _bound(config: WebConfig) -> socket.socket:
    """Return a socket that listens where the configuration says. Raises OSError."""
    family = socket.AF_INET6 if config.address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(config.address), config.port))
        listener.listen(MOST)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
