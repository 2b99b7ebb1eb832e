"""Moves an MQTT client's bytes from the event loop: no thread, few wake-ups. Knows the client only by its shape.

Reading is level-triggered; what TLS or WebSocket has taken from the socket and not given out is drained, for the socket will not say so again.
Writing happens once per turn of the loop for everything queued in it, and waits for the socket only when that is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from edge_agent.publish.route import Wire
from edge_agent.publish.websocket import WebSocket

_CONNACK = 0x20


class StrangeAnswerError(Exception):
    """The peer's first byte is no CONNACK: something else lives on that port."""


class Engine(Protocol):
    """The part of an MQTT client that moves bytes; the calls return 0 while all is well and report a loss by callback."""

    def loop_read(self) -> int:
        """Read what is there."""
        ...

    def loop_write(self) -> int:
        """Write what is queued."""
        ...

    def want_write(self) -> bool:
        """Whether something is queued."""
        ...


class Pump:
    """Drives ``engine`` on the running loop between `start` and `stop`. ``tick`` is called at every ``interval`` machine seconds.

    ``broken`` hears of exceptions out of the client: nothing may escape into the loop, where nobody would act on it.
    """

    def __init__(
        self, engine: Engine, wire: Wire, *, tick: Callable[[], None], broken: Callable[[Exception], None], interval: float
    ) -> None:
        self._engine = engine
        self._plain = wire if isinstance(wire, socket.socket) and not isinstance(wire, ssl.SSLSocket) else None
        self._holder = wire if isinstance(wire, ssl.SSLSocket | WebSocket) else None
        self._frames = wire if isinstance(wire, WebSocket) else None
        self._fd = wire.fileno()
        self._loop = asyncio.get_running_loop()
        self._on_tick = tick
        self._broken = broken
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self._writer = False
        self._running = False
        self._silent = True

    def start(self) -> None:
        """Take the socket over from whoever connected it, and write what is queued already."""
        self._running = True
        self._loop.add_reader(self._fd, self._guarded, self._read)
        self._timer = self._loop.call_later(self._interval, self._tick)
        self.flush_soon()

    def stop(self) -> None:
        """Let go of the socket; call it before the socket is closed. Safe to call twice."""
        if not self._running:
            return
        self._running = False
        self._loop.remove_reader(self._fd)
        self._watch_writable(False)
        if self._timer is not None:
            self._timer.cancel()

    def flush_soon(self) -> None:
        """Write in this turn of the loop, after everything that is queued in it."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._guarded, self._flush)

    def _guarded(self, step: Callable[[], None]) -> None:
        if not self._running:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - broken() tells the connection's owner, who opens a new one
            self._broken(error)

    def _read(self) -> None:
        if self._silent:
            self._silent = False
            self._check_first_byte()
        # Bounded: a TLS record has at most 16 KiB, a read of frames 64 KiB, and every call takes at least a byte of it.
        if self._engine.loop_read() == 0 and self._holder is not None:
            while self._running and self._holder.pending() and self._engine.loop_read() == 0:
                pass
        if self._running and self._frames is not None and self._frames.unsent():
            self._watch_writable(True)

    def _check_first_byte(self) -> None:
        """Raise StrangeAnswerError for a greeting of another protocol: its bytes would keep an MQTT parser waiting for more."""
        first = b""
        if self._plain is not None:
            with contextlib.suppress(OSError):  # the client meets it again at once and reports it in its own way
                first = self._plain.recv(1, socket.MSG_PEEK)
        if first and first[0] != _CONNACK:
            raise StrangeAnswerError

    def _flush(self) -> None:
        self._flushing = False
        unsent = False
        if self._frames is not None:
            with contextlib.suppress(OSError):  # reading meets it again and reports it
                self._frames.flush()
        self._engine.loop_write()
        if self._frames is not None:
            unsent = self._frames.unsent()
        self._watch_writable(self._running and (unsent or self._engine.want_write()))

    def _watch_writable(self, wanted: bool) -> None:
        if wanted and not self._writer:
            self._loop.add_writer(self._fd, self._guarded, self._flush)
        elif self._writer and not wanted:
            self._loop.remove_writer(self._fd)
        self._writer = wanted

    def _tick(self) -> None:
        self._guarded(self._on_tick)
        if self._running:
            self._timer = self._loop.call_later(self._interval, self._tick)
