"""Name look-up with an end: bounded in time, and with the last good answer while the name server is away."""

from __future__ import annotations

import socket
import threading
from typing import Any

import structlog

Address = tuple[socket.AddressFamily, tuple[Any, ...]]

_log = structlog.get_logger()


class _LookUp:
    """One look-up in a thread of its own: the system's resolver can block for half a minute and cannot be stopped."""

    def __init__(self, host: str, port: int) -> None:
        self.done = threading.Event()
        self.found: tuple[Address, ...] = ()
        self.error: OSError | None = None
        self._target = (host, port)
        threading.Thread(target=self._run, name="mqtt-name", daemon=True).start()

    def _run(self) -> None:
        try:
            rows = socket.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
            self.found = tuple(dict.fromkeys((row[0], row[4]) for row in rows))
        except OSError as error:
            self.error = error
        except UnicodeError as error:  # a label that is empty or too long (RFC 1035, 2.3.4)
            self.error = socket.gaierror(socket.EAI_NONAME, f"no host name: {error}")
        self.done.set()


class Names:
    """Remembers what names meant. Used from dial threads, one at a time for each agent."""

    def __init__(self) -> None:
        self._good: dict[tuple[str, int], tuple[Address, ...]] = {}
        self._running: dict[tuple[str, int], _LookUp] = {}
        self.stale = 0

    def resolve(self, host: str, port: int, seconds: float) -> tuple[Address, ...]:
        """Return the addresses of ``host``, waiting at most ``seconds`` of machine time for the resolver.

        An answer that does not come, or an error, is replaced by the last good one, however old (counted in ``stale``): a
        name server is away more often than a broker moves. Raises socket.gaierror or TimeoutError when there is none.
        """
        place = (host, port)
        look_up = self._running.get(place) or self._running.setdefault(place, _LookUp(host, port))
        if look_up.done.wait(seconds):
            del self._running[place]  # else: the next try waits for the same one, so that threads do not pile up
            if look_up.found:
                self._good[place] = look_up.found
                return look_up.found
        reason = str(look_up.error or "the name server does not answer")
        if (known := self._good.get(place)) is not None:
            self.stale += 1
            _log.warning("mqtt.name_remembered", host=host, reason=reason, address=known[0][1][0])
            return known
        raise look_up.error or TimeoutError(f"the name server does not answer for {host}")
