"""The routes of the local API. GET looks; POST, which exists only on the UNIX socket, makes the agent say something again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.outside import from_json
from edge_agent.status.exposition import exposed
from edge_agent.status.families import Family
from edge_agent.status.report import Desk, ReloadReport, ResendWish, RetryWish, Status, Wanted

T = TypeVar("T")

_LARGEST = 65_536
"""Bytes of a request's body."""

_LETTERS = 100
_MOST_LETTERS = 1000


Tail = Callable[[], AsyncIterator[bytes]]
"""Gives lines of JSON about what leaves, for as long as somebody listens."""


Reload = Callable[[], Awaitable[ReloadReport]]
"""Has the files of the configuration read again; returns what became of it."""

Metrics = Callable[[], Awaitable[Sequence[Family]]]
"""Gathers the metrics of the agent."""


def application(
    status: Callable[[], Awaitable[Status]],
    desk: Desk,
    *,
    verbs: bool,
    tail: Tail | None = None,
    reload: Reload | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """Return the app over ``status`` and ``desk``; ``verbs``: with the POST routes (a UNIX socket only); ``tail``: with what leaves.

    ``metrics``: with figures for Prometheus.
    """
    routes = _Routes(status, desk)
    table = [
        Route("/api/status", routes.status),
        Route("/api/buffer", routes.buffer),
        Route("/api/buffer/export", routes.export),
        Route("/api/buffer/dead-letters", routes.dead_letters),
    ]
    if tail is not None:
        table.append(Route("/api/tail", _tail(tail)))
    if metrics is not None:
        table.append(metrics_route(metrics))
    if verbs:
        table += [
            Route("/api/buffer/resend", routes.resend, methods=["POST"]),
            Route("/api/buffer/retry", routes.retry, methods=["POST"]),
        ]
    if verbs and reload is not None:
        table.append(Route("/api/reload", _reload(reload), methods=["POST"]))
    return Starlette(routes=table, exception_handlers=handlers())


def handlers() -> dict[Any, Any]:
    """Return who answers what goes wrong, in words."""
    return {
        EdgeAgentError: _refused,
        msgspec.MsgspecError: _misunderstood,
        HTTPException: _http,
        ClientDisconnect: _gone,
        Exception: _failed,
    }


class _Routes:
    def __init__(self, status: Callable[[], Awaitable[Status]], desk: Desk) -> None:
        self._status = status
        self._desk = desk

    async def status(self, _: Request) -> Response:
        return json_response(await self._status())

    async def buffer(self, _: Request) -> Response:
        return json_response(await self._desk.buffer())

    async def export(self, request: Request) -> Response:
        lines = self._desk.export(query_as(request, Wanted))
        first = await anext(lines, b"")  # what is wrong with the request is told before the first byte
        return StreamingResponse(_joined(first, lines), media_type="application/x-ndjson")

    async def dead_letters(self, request: Request) -> Response:
        page = query_as(request, _Letters)
        return json_response(await self._desk.dead_letters(page.after, min(page.limit, _MOST_LETTERS)))

    async def resend(self, request: Request) -> Response:
        return json_response(await self._desk.resend(await _wish(request, ResendWish)))

    async def retry(self, request: Request) -> Response:
        return json_response(await self._desk.retry(await _wish(request, RetryWish)))


def _tail(tail: Tail) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return StreamingResponse(tail(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})

    return answer


def metrics_route(metrics: Metrics) -> Route:
    """Return ``/metrics``."""

    async def answer(request: Request) -> Response:
        page, media_type = exposed(await metrics(), request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": media_type, "Cache-Control": "no-store"})

    return Route("/metrics", answer)


def _reload(reload: Reload) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return json_response(await reload())

    return answer


class _Letters(msgspec.Struct):
    after: int = 0
    limit: int = _LETTERS


def query_as(request: Request, shape: type[T]) -> T:
    """Return the query of a request as ``shape``. Raises MsgspecError."""
    return msgspec.convert(dict(request.query_params), shape, strict=False)


async def _wish(request: Request, shape: type[T]) -> T:
    try:
        return from_json(await _body(request), shape)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


async def _body(request: Request) -> bytes:
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > _LARGEST:
            raise HTTPException(413, f"a request has at most {_LARGEST} bytes")
    return found


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for lines in rest:
        yield lines


def json_response(content: object, code: int = 200) -> Response:
    """Return ``content`` as JSON that nobody keeps."""
    return Response(msgspec.json.encode(content), code, media_type="application/json", headers={"Cache-Control": "no-store"})


async def _refused(_: Request, error: EdgeAgentError) -> Response:
    return json_response({"error": str(error)}, 503 if isinstance(error, StorageError) else 409)


async def _misunderstood(_: Request, error: msgspec.MsgspecError) -> Response:
    return json_response({"error": str(error)}, 400)


async def _http(_: Request, error: HTTPException) -> Response:
    return json_response({"error": error.detail}, error.status_code)


async def _gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    structlog.get_logger().error("status.failed", path=request.url.path, exc_info=error)
    return json_response({"error": f"{type(error).__name__}: {error}; the agent's log has more"}, 500)
