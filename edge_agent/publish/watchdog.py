"""Looks at one connection again and again: whether the broker still acknowledges, still speaks, and when it is time to ask it."""

from __future__ import annotations

import asyncio
import socket

from edge_agent.publish.client import Engine
from edge_agent.publish.liveness import Liveness, Traffic
from edge_agent.publish.window import Window


class Watchdog:
    """Judges by the window, the kernel's counts, and the clock; both timeouts in machine seconds."""

    def __init__(self, client: Engine, sock: socket.socket, window: Window, *, ack_timeout: float, keepalive: float) -> None:
        """Begin with the connection on ``sock``."""
        self.interval = min(1.0, ack_timeout / 4, keepalive / 8)
        """Machine seconds from one look to the next."""
        self._clock = asyncio.get_running_loop().time
        self._client = client
        self._window = window
        self._ack_timeout, self._keepalive = ack_timeout, keepalive
        self._traffic, self._liveness = Traffic(sock), Liveness(self._clock())
        self._spoke = self._pinged = self._clock()

    def spoke(self) -> None:
        """Note that something of ours has just left."""
        self._spoke = self._clock()

    def look(self, *, accepted: bool) -> str | None:
        """Return what is wrong, None while all is well; asks a quiet broker for a sign of life once it has ``accepted`` the connection."""
        now = self._clock()
        # A kernel that does not count (none but Linux, gVisor, emulators) leaves us what was read: then a slow line may be taken for a dead one.
        self._liveness.see(self._traffic.look() or (self._client.received, 0, False), now)
        silent, waited = self._liveness.silent(now), self._window.oldest(self._liveness.took)
        half = self._keepalive / 2
        if waited + self.interval > self._ack_timeout:  # at the next look it would be too long ago
            return f"is connected but has not acknowledged for {waited:.1f} s ({self._window.in_flight} messages in flight)"
        if silent + self.interval > self._keepalive:
            return f"has been silent for {silent:.1f} s and does not answer pings"
        if now - self._pinged >= half and max(silent, now - self._spoke) >= half and accepted:
            self._pinged = now
            self._client.ping()
        return None
