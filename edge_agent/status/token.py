"""The token of the status page: read from its file, compared in constant time, and what a browser keeps instead of it."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from edge_agent.model.errors import ConfigError

COOKIE = "edge_agent_page"
_SHORTEST = 16
_LONGEST = 4096


def read_token(file: Path) -> bytes:
    """Return the token in ``file``; raises ConfigError when it cannot be used or others can read it."""
    try:
        if file.stat().st_mode & 0o007:
            raise ConfigError(f"token_file {file} can be read by everybody; chmod 600 {file}")
        with file.open("rb") as stream:
            token = stream.read(_LONGEST).strip()
    except OSError as error:
        raise ConfigError(f"token_file {file}: {error.strerror or error}") from error
    if len(token) < _SHORTEST:
        raise ConfigError(f"the token in {file} has less than {_SHORTEST} characters; make one: openssl rand -hex 24 > {file}")
    return token


class Token:
    """The token as it stands in its file now: a new one counts at once, and one that cannot be read lets nobody in."""

    def __init__(self, file: Path) -> None:
        """Ask ``file``; raises ConfigError when it cannot be used."""
        self._file = file
        self._token = read_token(file)
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _current(self) -> bytes | None:
        stamp = self._stamp()
        if stamp != self._seen:
            try:
                self._token = read_token(self._file)
            except ConfigError:
                return None
            self._seen = stamp
        return self._token

    def opens(self, shown: bytes) -> bool:
        """Whether ``shown`` is the token."""
        token = self._current()
        return token is not None and hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(token).digest())

    def keeps(self, cookies: str) -> bool:
        """Whether a Cookie header holds what `cookie` gave."""
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        token = self._current()
        return token is not None and morsel is not None and hmac.compare_digest(morsel.value.encode(), _kept(token).encode())

    def cookie(self) -> str | None:
        """Return the Set-Cookie header of whoever has shown the token: no script reads it, no other site sends it; a new token ends it."""
        token = self._current()
        return None if token is None else f"{COOKIE}={_kept(token)}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"


FORGET = f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
"""The Set-Cookie header that logs a browser out."""


def _kept(token: bytes) -> str:
    return hmac.new(token, b"edge-agent status page", hashlib.sha256).hexdigest()
