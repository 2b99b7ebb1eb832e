"""How far one connection has delivered a device's data."""

from __future__ import annotations

import time

import msgspec

from edge_agent.drivers.opcua.facts import MOST_BYTES, Facts, packed
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.model.reading import Mark


class Track:
    """Makes the marks of one connection's batches. ``keeps``: somebody stores them."""

    def __init__(self, signed: str, keeps: bool, watched: frozenset[int] = frozenset()) -> None:
        """Remember the newest time of the ``watched`` tags (those with a history) for ever, of others while a Read has overtaken them."""
        self._signed, self._keeps, self._watched = signed, keeps, watched
        self.line = ""
        self._number = 0
        self._until = 0.0
        self._facts = b""
        self._seen: dict[int, int] = {}
        self._overtaken: set[int] = set()

    def begin(self, subscription: int, started: object) -> None:
        """Count the messages of a new subscription; without the server's start time its number proves nothing."""
        self._number, self._facts = 0, b""
        self.line = f"{self._signed}:{subscription}@{started}" if isinstance(started, int) and started > 0 else ""

    @property
    def resumable(self) -> bool:
        """Whether there is a line that a later connection can go on with."""
        return self._keeps and ":" in self.line

    def go_on(self, line: str, number: int, facts: Facts) -> None:
        """Count on in a line behind its message ``number``."""
        self.line, self._number = line, number
        self.describe(facts)

    def connected(self, started: object) -> None:
        """Take note of the server's run before there is a line."""
        self.line = f"@{started}" if isinstance(started, int) else ""
        self._number = 0

    def describe(self, facts: Facts) -> int:
        """Keep what a later connection has to know; returns how many bytes it is (more than `MOST_BYTES` are not kept)."""
        data = packed(facts)
        self._facts = data if len(data) <= MOST_BYTES else b""
        return len(data)

    def remember(self, seen: dict[int, int]) -> None:
        """Go on with the times of an earlier connection."""
        self._seen.update(seen)

    def read(self, rows: Columns, until: float) -> None:
        """Take note of values read beside the subscription: until the machine time ``until`` (s) older samples may still come in it."""
        if self._keeps:
            self._until = until
            for handle, source, server in zip(rows.handles, rows.source, rows.server, strict=True):
                if stamp := source or server:
                    self._seen[handle] = max(stamp, self._seen.get(handle, 0))
                    self._overtaken.add(handle)

    def mark(self, rows: Columns | None = None, sequence: int | None = None, left: int = 0) -> Mark | None:
        """Return the mark of a batch of ``rows`` out of message ``sequence`` (None: none), of which ``left`` parts follow."""
        if not self._keeps:
            return None
        if sequence is not None:
            self._number = sequence
        if self._overtaken and time.monotonic() > self._until:
            for handle in self._overtaken - self._watched:
                self._seen.pop(handle, None)
            self._overtaken.clear()
        if rows is not None and (self._overtaken or self._watched):
            self._saw(rows)
        return Mark(self.line, self._number, dict(self._seen), self._facts, left)

    def past(self, rows: Columns, line: str) -> Mark | None:
        """Return the mark of a batch out of a historian: a line of its own, for no later connection can go on with it."""
        return msgspec.structs.replace(mark, line=line, number=0, facts=b"") if (mark := self.mark(rows)) is not None else None

    def _saw(self, rows: Columns) -> None:
        for handle, source, server in zip(rows.handles, rows.source, rows.server, strict=True):
            stamp = source or server
            if handle in self._watched:
                self._seen[handle] = max(stamp, self._seen.get(handle, 0))
            elif handle in self._overtaken and stamp >= self._seen.get(handle, 0):
                self._overtaken.discard(handle)
                self._seen.pop(handle, None)
