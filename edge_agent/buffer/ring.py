"""Where appends wait while the disk is out of order: a bounded ring in memory; what falls out of it is declared when the disk is back."""

from __future__ import annotations

from collections import deque
from itertools import chain

from edge_agent.buffer.loss import Loss
from edge_agent.buffer.numbering import Group
from edge_agent.model.stream import Checkpoint, Entry, Kind

MOST = 16 << 20
"""Bytes that wait at most."""
_ROW = 256


class Ring:
    """At most ``events`` entries and ``size`` bytes, and the newest state of every owner. Telemetry falls out first, the oldest first."""

    def __init__(self, events: int = 10_000, size: int = MOST) -> None:
        """Start empty. ``size`` in bytes of bodies and what a row takes beside them."""
        self._limit, self._size = events, size
        self._kinds: dict[Kind, deque[Entry]] = {"T": deque(), "E": deque()}
        self._bytes = 0
        self._states: dict[str, Checkpoint] = {}
        self._lost: dict[tuple[str, Kind], Loss] = {}

    def __len__(self) -> int:
        """The number of entries."""
        return sum(len(entries) for entries in self._kinds.values())

    @property
    def lost(self) -> int:
        """How many entries have fallen out."""
        return sum(loss.records for loss in self._lost.values())

    @property
    def empty(self) -> bool:
        """Whether nothing at all waits here."""
        return not (len(self) or self._states or self._lost)

    def add(self, group: Group) -> None:
        """Keep what was appended; the token is answered by the caller."""
        for checkpoint in group.checkpoints:
            self._remember(checkpoint)
        for entry in group.events:
            self._kinds[entry.kind].append(entry)
            self._bytes += len(entry.body) + _ROW
        while len(self) > self._limit or (self._bytes > self._size and len(self) > 1):
            oldest = self._kinds["T"] or self._kinds["E"]
            self._lose(oldest.popleft())

    def _remember(self, new: Checkpoint) -> None:
        old = self._states.get(new.owner)
        states = new.states if old is None else {**old.states, **new.states}
        self._states[new.owner] = Checkpoint(new.owner, states, new.last_seen)

    def _lose(self, entry: Entry) -> None:
        self._bytes -= len(entry.body) + _ROW
        name = (entry.stream, entry.kind)
        if name not in self._lost:
            self._lost[name] = Loss(*name, "buffer_overflow", entry.time, entry.time, entry.recorded)
        self._lost[name].cover(entry, None)

    def checkpoints(self, owner: str) -> list[Checkpoint]:
        """Return the state of an owner that is not on the disk yet."""
        return [self._states[owner]] if owner in self._states else []

    def take(self, prefix: str) -> Group:
        """Empty the ring into one group for one transaction: losses first, for they are older than what is left of their streams."""
        lost = [loss.entry(prefix) for loss in self._lost.values()]
        entries = chain(lost, self._kinds["E"], self._kinds["T"])
        group = Group(tuple(entries), tuple(self._states.values()))
        group.prepare()
        for entries_of_kind in self._kinds.values():
            entries_of_kind.clear()
        self._bytes = 0
        self._states, self._lost = {}, {}
        return group
