"""The other end of the local API, for the command line: blocking, because a command does one thing at a time."""

from __future__ import annotations

import http.client
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from edge_agent.model.errors import DisconnectedError, EdgeAgentError
from edge_agent.status.place import address
from edge_agent.status.report import (
    BufferReport,
    LetterReport,
    ReloadReport,
    ResendWish,
    Resent,
    Retried,
    RetryWish,
    Status,
    Wanted,
)

T = TypeVar("T")

_TIMEOUT = 30.0
_RELOAD = 180.0
"""Seconds for a reload: tens of thousands of tags are read and checked, on a small machine."""

_PIECE = 1 << 16


class NoAgentError(DisconnectedError):
    """Nobody listens on the socket: there is no agent."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float = _TIMEOUT) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path, self._patience = path, timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._patience)
        with address(self._path) as name:
            self.sock.connect(name)


class RemoteDesk:
    """A `Desk` behind a socket."""

    def __init__(self, path: Path) -> None:
        """Ask the agent that listens at ``path``."""
        self.path = path

    def probe(self) -> None:
        """Raise NoAgentError when nobody listens, EdgeAgentError when the socket is not for us."""
        with _words(self.path), closing(_Connection(self.path)) as connection:
            connection.connect()

    async def status(self) -> Status:
        """Return what the agent says of itself."""
        return self._ask("GET", "/api/status", Status)

    async def buffer(self) -> BufferReport:
        """Return the figures."""
        return self._ask("GET", "/api/buffer", BufferReport)

    async def export(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield CloudEvents as lines of JSON."""
        query = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
        with _words(self.path), self._answer("GET", f"/api/buffer/export?{urlencode(query)}") as answer:
            while piece := answer.read(_PIECE):
                yield piece

    def metrics(self) -> str:
        """Return the page of metrics in Prometheus' text format."""
        with _words(self.path), self._answer("GET", "/metrics") as answer:
            return answer.read().decode("utf-8")

    def tail(self) -> Iterator[bytes]:
        """Yield lines of JSON about what leaves as it leaves, empty ones where nothing does; the end of the agent ends it."""
        with _words(self.path), self._answer("GET", "/api/tail") as answer:
            while line := answer.readline():
                yield line.strip()

    async def resend(self, wish: ResendWish) -> Resent:
        """Have delivered records sent again."""
        return self._ask("POST", "/api/buffer/resend", Resent, wish)

    async def dead_letters(self, after: int, limit: int) -> Sequence[LetterReport]:
        """Return dead letters behind number ``after``."""
        return self._ask("GET", f"/api/buffer/dead-letters?after={after}&limit={limit}", list[LetterReport])

    async def retry(self, wish: RetryWish) -> Sequence[Retried]:
        """Append what dead letters say as new records."""
        return self._ask("POST", "/api/buffer/retry", list[Retried], wish)

    def reload(self) -> ReloadReport:
        """Have the agent read its files again; returns what became of it."""
        return self._ask("POST", "/api/reload", ReloadReport, timeout=_RELOAD)

    def _ask(self, method: str, path: str, shape: type[T], body: object = None, timeout: float = _TIMEOUT) -> T:
        with _words(self.path), self._answer(method, path, body, timeout) as answer:
            return msgspec.json.decode(answer.read(), type=shape)

    @contextmanager
    def _answer(self, method: str, path: str, body: object = None, timeout: float = _TIMEOUT) -> Iterator[http.client.HTTPResponse]:
        with closing(_Connection(self.path, timeout)) as connection:
            connection.request(method, path, None if body is None else msgspec.json.encode(body))
            with connection.getresponse() as answer:
                if answer.status >= 400:
                    raise EdgeAgentError(_reason(answer))
                yield answer


def _reason(answer: http.client.HTTPResponse) -> str:
    text = answer.read(_PIECE)
    try:
        return msgspec.json.decode(text, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        return f"the agent answers {answer.status} {answer.reason}"


@contextmanager
def _words(path: Path) -> Iterator[None]:
    """Turn what the socket says into words for people."""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoAgentError(f"no agent listens on {path}") from error
    except PermissionError as error:
        raise EdgeAgentError(
            f"{path} is not for this user: run the command with sudo, or as a member of the socket's group"
        ) from error
    except (http.client.HTTPException, OSError, msgspec.MsgspecError) as error:
        raise DisconnectedError(f"the agent on {path} went away in the middle of its answer ({type(error).__name__})") from error
