"""Tells whoever listens which records the broker has taken, at the moment of the acknowledgement. Nobody listening costs nothing.

A listener that is slower than the records come misses some and is told how many: delivery waits for nobody who only looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from edge_agent.agent.envelope import Envelope
from edge_agent.agent.forward import Delivered
from edge_agent.model.instant import iso
from edge_agent.model.stream import Record
from edge_agent.ports import PlantClock

_MOST = 2000
"""Records that wait for one listener."""

_QUIET = 5.0
"""Machine seconds after which an empty line says that the agent is still there."""

_AT_ONCE = 50
"""Records encoded in one turn: the loop has other work."""


class Departure(msgspec.Struct, frozen=True):
    """One record that has left: when it was acknowledged (RFC 3339), after how long (ms), and the CloudEvent as it was published."""

    acknowledged: str
    wait_ms: float
    stream: str
    kind: str
    resent: bool
    event: msgspec.Raw


class Departures:
    """What has left, for any number of listeners."""

    def __init__(self, delivered: Delivered, envelope: Envelope, clock: PlantClock) -> None:
        """Listen to ``delivered``, where there are listeners; ``envelope`` says how a record was published."""
        self._delivered, self._envelope, self._clock = delivered, envelope, clock
        self._ears: set[_Ear] = set()
        self._closed = False

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield lines of JSON (`Departure`, or ``{"missed": n}``), and empty ones where nothing leaves, until `close`."""
        ear, encoder = _Ear(), self._envelope.encoder()
        self._ears.add(ear)
        self._delivered.listeners.append(ear.hear)
        try:
            yield b"\n"  # the listener knows from now on that it hears everything
            while not self._closed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET):
                        await ear.news.wait()
                ear.news.clear()
                missed, ear.missed = ear.missed, 0
                if missed:
                    yield b'{"missed":%d}\n' % missed
                if not ear.heard:
                    yield b"\n"
                while ear.heard:
                    some = [ear.heard.popleft() for _ in range(min(_AT_ONCE, len(ear.heard)))]
                    yield b"".join(self._line(record, wait, encoder.encode(record).payload) for record, wait in some)
        finally:
            self._delivered.listeners.remove(ear.hear)
            self._ears.discard(ear)

    def _line(self, record: Record, wait: float, payload: bytes) -> bytes:
        key, entry = record.key, record.entry
        left = Departure(iso(self._clock.now()), round(wait * 1e3, 3), key.stream, entry.kind, record.resent, msgspec.Raw(payload))
        return msgspec.json.encode(left) + b"\n"

    def close(self) -> None:
        """Let every listener go: a server that shuts down would wait for them."""
        self._closed = True
        for ear in self._ears:
            ear.news.set()


class _Ear:
    def __init__(self) -> None:
        self.heard: deque[tuple[Record, float]] = deque()
        self.missed = 0
        self.news = asyncio.Event()

    def hear(self, record: Record, wait: float) -> None:
        """Keep one record that was acknowledged ``wait`` seconds after it was handed over."""
        if len(self.heard) >= _MOST:
            self.missed += 1
            return
        self.heard.append((record, wait))
        self.news.set()
