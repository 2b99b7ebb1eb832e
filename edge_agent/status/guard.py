"""Stands before every route of the status page: who may ask, under which name, how, how much and how often.

The name is asked for because of DNS rebinding: a page of another site that has its name point here would be of the same origin as this one.
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.status.token import FORGET, Token

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ALWAYS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
_LONGEST = 2048
"""Bytes of a path with its query."""

_RATE, _BURST = 20.0, 120.0
"""Requests per machine second and address."""

_WRONG_RATE, _WRONG_BURST = 0.1, 5.0
"""Wrong tokens per machine second and address."""

_ADDRESSES = 256


class Allowance:
    """So many per second and address, and a burst; what is not used fills it up again."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``rate`` per second of ``clock``."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, address: str) -> float:
        """Return how many ``address`` has left."""
        left, at = self._left.get(address, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._rate)

    def take(self, address: str) -> bool:
        """Take one; False where none is left. Those that were not heard of for longest are forgotten."""
        left = self.left(address)
        if left < 1:
            return False
        self._left[address] = (left - 1, self._clock())
        self._left.move_to_end(address)
        while len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return True


def own_names(more: Iterable[str]) -> frozenset[str]:
    """Return the names under which this machine may be asked."""
    host = socket.gethostname().lower()
    return frozenset({"localhost", host, host.partition(".")[0], *more})


def named(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is an address or one of ``names``: an address cannot be pointed elsewhere."""
    name = host.strip().lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    if port and not port.isdecimal():
        return False
    try:
        ip_address(name)
    except ValueError:
        return name.rstrip(".") in names
    return True


class Guard:
    """Lets through what may pass to the app behind it."""

    def __init__(self, app: ASGIApp, *, names: frozenset[str], token: Token | None, open_paths: Sequence[str]) -> None:
        """Guard ``app``; ``open_paths`` need no token, for they tell nothing of the plant."""
        self._app, self._names, self._token = app, names, token
        self._open = frozenset(open_paths)
        self._asked, self._wrong = Allowance(_RATE, _BURST), Allowance(_WRONG_RATE, _WRONG_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else ""
        refusal = self._refusal(scope, headers, address) or self._stranger(scope, headers, address)
        if refusal is not None:
            await _refuse(_hardened(send), *refusal)
        elif scope["path"] == "/api/login":
            cookie = None if self._token is None else self._token.cookie()
            await _said(_hardened(send), 204, b"", [] if cookie is None else [(b"set-cookie", cookie.encode())])
        elif scope["path"] == "/api/logout":
            await _said(_hardened(send), 204, b"", [(b"set-cookie", FORGET.encode())])
        else:
            await self._app(scope, receive, _hardened(send))

    def _refusal(self, scope: Scope, headers: Headers, address: str) -> tuple[int, str] | None:
        """Return what is wrong with the request itself, whoever asks."""
        if not self._asked.take(address):
            return 429, "too many requests"
        if len(headers.getlist("host")) != 1 or not named(headers["host"], self._names):
            return 421, "this is not the name of this machine; ask by its address, or add the name to web: names"
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, "this API can only be read"
        if len(scope["raw_path"]) + len(scope["query_string"]) > _LONGEST:
            return 414, f"an address has at most {_LONGEST} bytes"
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return 413, "a request has no body here"
        if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate":
            return 403, "pages of other sites may not ask"
        return None

    def _stranger(self, scope: Scope, headers: Headers, address: str) -> tuple[int, str] | None:
        """Return why whoever asks may not; None where they may."""
        if self._token is None or scope["path"] in self._open:
            return None
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._wrong.left(address) < 1:
                return 429, "too many wrong tokens"
            if self._token.opens(shown.strip().encode()):
                return None
            self._wrong.take(address)
            return 401, "this is not the token"
        if scope["path"] != "/api/login" and self._token.keeps(headers.get("cookie", "")):
            return None
        return 401, "show the token: Authorization: Bearer TOKEN"


def _hardened(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_ALWAYS]}
        await send(message)

    return sending


async def _refuse(send: Send, code: int, why: str) -> None:
    more = {401: [(b"www-authenticate", b"Bearer")], 405: [(b"allow", b"GET, HEAD")], 429: [(b"retry-after", b"5")]}.get(code, [])
    more = [*more, (b"connection", b"close")] if code in {405, 413, 414} else more
    await _said(send, code, msgspec.json.encode({"error": why}), more)


async def _said(send: Send, code: int, body: bytes, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"cache-control", b"no-store"), *more]
    if code != 204:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
