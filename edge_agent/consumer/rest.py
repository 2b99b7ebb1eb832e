"""Events to an MES that is called over HTTP: in order, one at a time, each under its id, until the MES has taken it.

The outbox is written in the transaction of the books, so an event is in both or in neither. ``Idempotency-Key`` is the event's id
(draft-ietf-httpapi-idempotency-key-header): after a crash or a lost answer the same event comes again under the same key.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import structlog

from edge_agent.consumer.database import Database
from edge_agent.model.errors import ConfigError, StorageError

Verdict = Literal["done", "aside", "again"]

_TIMEOUT = 15.0
_FIRST, _LONGEST = 0.5, 60.0
_LOOK = 1.0
_ABOUT_US = frozenset({401, 403, 404, 405, 407, 408, 409, 421, 423, 425, 426, 429})
"""4xx that say nothing against the event: credentials, address, pace, or that the first try is still being worked on. All others do."""


def verdict(status: int) -> Verdict:
    """Return what an HTTP status means for an event (RFC 9110, 15)."""
    if 200 <= status < 300:
        return "done"
    return "aside" if 400 <= status < 500 and status not in _ABOUT_US else "again"


class Target(msgspec.Struct, frozen=True):
    """The MES: its address, a bearer token if it wants one, and TLS for https."""

    url: str
    token: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def host(self) -> str:
        """host:port as it stands in the address."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def checked(url: str, *, allow_insecure: bool) -> str:
    """Return ``url`` if events may be sent there. Raises ConfigError with the remedy."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"--rest {url} is no address; write https://mes.plant1/events")
    if parts.password or parts.username:
        raise ConfigError("--rest: a password in the address stands in the list of processes; use --rest-token-file")
    if parts.scheme == "http" and not allow_insecure and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ConfigError(f"--rest {url} sends everything readable and unprotected; use https://, or accept it by --allow-insecure")
    return url


class Poster:
    """Sends what is in the outbox, in a thread of its own with a connection of its own to the database."""

    def __init__(self, open_database: Callable[[], Database], target: Target) -> None:
        """Prepare; `start` begins."""
        self._open, self._target = open_database, target
        self._news, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._log = structlog.get_logger()
        self.sent = self.aside = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something was committed."""
        self._news.set()

    def stop(self) -> None:
        """End after the request that is on its way."""
        self._stopped.set()
        self._news.set()
        self._thread.join(_TIMEOUT + 1)

    def _run(self) -> None:
        wait = _FIRST / 2
        while not self._stopped.is_set():
            before = self.sent + self.aside
            try:
                self._session()
            except (OSError, http.client.HTTPException, StorageError, ConfigError) as error:
                wait, reason = self._next(wait, before), str(error) or type(error).__name__
            except Refused as refused:
                wait, reason = max(self._next(wait, before), refused.after), str(refused)
            else:
                return
            self._log.warning("rest.waits", reason=reason, seconds=wait)
            self._stopped.wait(wait)

    def _next(self, wait: float, before: int) -> float:
        """Return how long to wait: from the start again when anything went through since the last failure."""
        return _FIRST if self.sent + self.aside > before else min(wait * 2, _LONGEST)

    def _session(self) -> None:
        """Send over one connection until something fails or `stop`."""
        database = self._open()
        connection = self._connection()
        try:
            while not self._stopped.is_set():
                self._news.clear()
                rows = database.read("SELECT source, id, body, tries FROM rest_outbox WHERE aside = 0 ORDER BY place LIMIT 100")
                for source, name, body, tries in rows:
                    if self._stopped.is_set():
                        break
                    self._send(database, connection, source, name, body, tries)
                if not rows:
                    connection.close()  # an MES need not hold a connection open for nothing
                    self._news.wait(_LOOK)
        finally:
            connection.close()
            database.close()

    def _send(
        self, database: Database, connection: http.client.HTTPConnection, source: str, name: str, body: str, tries: int
    ) -> None:
        status, said, after = self._post(connection, name, body)
        what = verdict(status)
        if what == "done":
            database.write("DELETE FROM rest_outbox WHERE source = ? AND id = ?", (source, name))
            self.sent += 1
            return
        reason = f"HTTP {status}: {said}"
        sql = "UPDATE rest_outbox SET tries = ?, aside = ?, reason = ? WHERE source = ? AND id = ?"
        database.write(sql, (tries + 1, int(what == "aside"), reason, source, name))
        if what == "aside":
            self.aside += 1
            self._log.error("rest.aside", id=name, reason=reason)
            return
        raise Refused(reason, after)

    def _post(self, connection: http.client.HTTPConnection, name: str, body: str) -> tuple[int, str, float]:
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8", "Idempotency-Key": f'"{name}"'}
        if self._target.token is not None:
            headers["Authorization"] = f"Bearer {self._target.token}"
        parts = urlsplit(self._target.url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("POST", path, body.encode(), headers)
        answer = connection.getresponse()
        said = answer.read(4096).decode(errors="replace").replace("\0", "")[:200]
        if not answer.closed and answer.read(1):
            connection.close()  # the rest of a long page is nobody's business
        after = answer.getheader("Retry-After", "")
        return answer.status, said, float(after) if after.isdecimal() else 0.0

    def _connection(self) -> http.client.HTTPConnection:
        if self._target.tls is not None:
            return http.client.HTTPSConnection(self._target.host, timeout=_TIMEOUT, context=self._target.tls)
        return http.client.HTTPConnection(self._target.host, timeout=_TIMEOUT)


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """The MES does not take anything now; ``after`` is how long it asked us to wait, in s."""

    def __init__(self, reason: str, after: float) -> None:
        super().__init__(reason)
        self.after = min(after, _LONGEST)
