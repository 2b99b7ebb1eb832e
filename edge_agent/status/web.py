"""The routes of the status page. Everything comes from here: no other server is asked, so that it works where there is no internet."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from importlib.resources import files

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from edge_agent.model.fault import explained, faults
from edge_agent.status.app import handlers, json_response, query_as
from edge_agent.status.guard import Guard
from edge_agent.status.pagereport import CodeReport, TagReport, TagsHead, TagsWish, View
from edge_agent.status.token import Token

_LISTENERS = 8
"""Pages that may listen to what leaves at the same time."""

_PIECE = 250
"""Tags encoded in one turn: the loop has other work."""

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/tags.js": ("tags.js", "text/javascript; charset=utf-8"),
    "/events.js": ("events.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_OPEN = (*_FILES, "/codes", "/healthz", "/readyz", "/api/logout")
"""What needs no token: it says nothing of the plant."""


def web_application(view: View, *, names: frozenset[str], token: Token | None, more: Sequence[Route] = ()) -> ASGIApp:
    """Return the page over ``view`` behind its guard; ``names`` and ``token`` say who may ask, ``more`` is served behind the guard, too."""
    routes = _Routes(view)
    table = [
        *(Route(path, _file(name, kind)) for path, (name, kind) in _FILES.items()),
        Route("/codes", _codes_page),
        Route("/healthz", _alive),
        Route("/readyz", routes.ready),
        Route("/api/status", routes.status),
        Route("/api/tags", routes.tags),
        Route("/api/codes", _codes),
        Route("/api/history", routes.history),
        Route("/api/live", routes.live),
        *more,
    ]
    return Guard(Starlette(routes=table, exception_handlers=handlers()), names=names, token=token, open_paths=_OPEN)


class _Routes:
    def __init__(self, view: View) -> None:
        self._view = view
        self._listeners = 0

    async def ready(self, _: Request) -> Response:
        healthy = (await self._view.status()).buffer.healthy
        return json_response({"ready": healthy}, 200 if healthy else 503)

    async def status(self, _: Request) -> Response:
        return json_response(await self._view.status())

    async def tags(self, request: Request) -> Response:
        head, tags = self._view.tags(query_as(request, TagsWish))
        return StreamingResponse(_pieces(head, tags), media_type="application/json", headers={"Cache-Control": "no-store"})

    async def history(self, _: Request) -> Response:
        return json_response(self._view.history())

    async def live(self, _: Request) -> Response:
        if self._listeners >= _LISTENERS:
            raise HTTPException(503, f"{_LISTENERS} pages listen already")
        return StreamingResponse(self._told(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _told(self) -> AsyncIterator[bytes]:
        """Yield server-sent events (WHATWG HTML, 9.2): ``departure``, ``missed``, and comments where nothing leaves."""
        self._listeners += 1
        try:
            yield b"retry: 2000\n\n"
            async for lines in self._view.departures():
                yield b"".join(map(_event, lines.splitlines())) or b":\n\n"
        finally:
            self._listeners -= 1


def _event(line: bytes) -> bytes:
    if not line:
        return b":\n\n"
    return b"event: %s\ndata: %s\n\n" % (b"missed" if line.startswith(b'{"missed"') else b"departure", line)


async def _pieces(head: TagsHead, tags: Sequence[TagReport]) -> AsyncIterator[bytes]:
    encode = msgspec.json.encode
    yield encode(head)[:-1] + b',"tags":['
    for start in range(0, len(tags), _PIECE):
        yield (b"," if start else b"") + encode(list(tags[start : start + _PIECE]))[1:-1]
        await asyncio.sleep(0)
    yield b"]}"


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(_read(name), media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


@cache
def _read(name: str) -> bytes:
    return files("edge_agent.status").joinpath("page", name).read_bytes()


async def _alive(_: Request) -> Response:
    return json_response({"alive": True})


async def _codes(_: Request) -> Response:
    return json_response(_all_codes())


@cache
def _all_codes() -> list[CodeReport]:
    """Return what the codes mean that a status can name; a log line's is in the page of all codes alone."""
    entries = [(code, entry) for code in sorted(faults()) if "." not in code and (entry := explained(code)) is not None]
    return [CodeReport(code, entry.cause, entry.check, entry.remedy, f"/codes#{code}") for code, entry in entries]


async def _codes_page(_: Request) -> Response:
    return Response(_written(), media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})


@cache
def _written() -> bytes:
    """Return the page that explains every code, made of the same table as the documents'."""
    entries = [(code, entry) for code in sorted(faults(), key=lambda code: ("." in code, code)) if (entry := explained(code))]
    parts = [
        f'<section class="code" id="{html.escape(code)}"><h2><code>{html.escape(code)}</code></h2><p>{html.escape(entry.cause)}</p>'
        f"<dl><dt>Check</dt><dd>{html.escape(entry.check)}</dd><dt>Remedy</dt><dd>{html.escape(entry.remedy)}</dd></dl></section>"
        for code, entry in entries
    ]
    return _read("codes.html").replace(b"<!-- codes -->", "\n".join(parts).encode())
