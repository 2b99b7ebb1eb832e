"""A broker that loses connections at the worst moments, and the consumer behind it that believes in numbers only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.stream import Record
from edge_agent.ports import Document, Request

Fault = Literal["before", "after"]
"""The connection dies before a record arrives, or after it arrived and before its acknowledgement."""


class Consumer:
    """The MES side: takes number high + 1 of each stream, drops what it has, and stops at a hole."""

    def __init__(self) -> None:
        """Know nothing."""
        self.records: dict[tuple[str, str], list[Record]] = {}
        self.repeated = 0

    def take(self, record: Record) -> None:
        """Apply one record once. Fails at a hole, and when a number comes with another content."""
        stream, epoch, seq = record.key
        known = self.records.setdefault((stream, epoch), [])
        if seq <= len(known):
            assert record.entry == known[seq - 1].entry, f"{stream} {seq} came with two contents"
            self.repeated += 1
            return
        assert seq == len(known) + 1, f"{stream}: {seq} came after {len(known)}"
        known.append(record)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Return what the events of one type say, in the order of their numbers."""
        return [
            msgspec.json.decode(record.entry.body)
            for records in self.records.values()
            for record in records
            if record.entry.type == f"edgeagent.{kind}.v1"
        ]


class Broker:
    """Where sinks connect to. ``faults`` are the next misfortunes: after how many more records, and which."""

    def __init__(self, window: int, latencies: tuple[int, ...]) -> None:
        """Acknowledge after ``latencies`` turns of the loop, one after the other and over again."""
        self.consumer = Consumer()
        self.window = window
        self.there = True
        self.faults: list[tuple[int, Fault]] = []
        self.connections = 0
        self.connection: Connection | None = None
        self._latencies = latencies or (0,)
        self._taken = 0

    def latency(self) -> int:
        """Return how many turns the next acknowledgement takes."""
        self._taken += 1
        return self._latencies[self._taken % len(self._latencies)]

    def fault(self) -> Fault | None:
        """Return what happens to the next record."""
        if not self.faults:
            return None
        left, kind = self.faults[0]
        if left:
            self.faults[0] = (left - 1, kind)
            return None
        del self.faults[0]
        return kind

    def leave(self) -> None:
        """Be away until further notice."""
        self.there = False
        if self.connection is not None:
            self.connection.lost.set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a connection."""
        if not self.there:
            raise DisconnectedError("broker away")
        self.connections += 1
        connection = self.connection = Connection(self)
        try:
            yield connection
        finally:
            connection.lost.set()
            self.connection = None


class Connection:
    """`ports.Sink`: a record arrives in the order of its publish, its acknowledgement whenever."""

    def __init__(self, broker: Broker) -> None:
        """Be open."""
        self._broker = broker
        self.lost = asyncio.Event()
        self.in_flight = 0

    @property
    def window(self) -> int:
        """How many may be in flight."""
        return self._broker.window

    async def publish(self, record: Record) -> None:
        """Deliver one record, or lose the connection with everything in flight."""
        self._check()
        self.in_flight += 1
        assert self.in_flight <= self.window
        try:
            fault = self._broker.fault()
            if fault != "before":
                self._broker.consumer.take(record)
            if fault is not None:
                self.lost.set()
            for _ in range(self._broker.latency()):
                await asyncio.sleep(0)
            self._check()
        finally:
            self.in_flight -= 1

    def _check(self) -> None:
        if self.lost.is_set():
            raise DisconnectedError("broker gone")

    async def announce(self, document: Document) -> None:
        """Nothing is announced on this path."""
        raise NotImplementedError

    async def request(self) -> Request:
        """Nobody asks on this path."""
        raise NotImplementedError
