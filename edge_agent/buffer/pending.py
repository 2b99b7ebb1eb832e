"""Appends that wait for a commit: when one is due, and how much goes into it (pure)."""

from __future__ import annotations

from edge_agent.buffer.numbering import Group


class Pending:
    """Groups in the order they came. Times are seconds of machine time."""

    def __init__(self, max_batch: int) -> None:
        """Nothing waits; a batch is full with ``max_batch`` events."""
        self._max_batch = max_batch
        self._groups: list[Group] = []
        self._events = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._groups)

    @property
    def full(self) -> bool:
        """Whether a commit need not wait for more."""
        return self._events >= self._max_batch

    def add(self, group: Group) -> None:
        """Let a group wait."""
        self._groups.append(group)
        self._events += len(group.events)

    def take(self, batch_bytes: int) -> list[Group]:
        """Take what waits, at most one batch of events and bytes (but one group at least)."""
        events = size = count = 0
        for group in self._groups:
            count += 1
            events += len(group.events)
            size += sum(len(entry.body) for entry in group.events)
            if events >= self._max_batch or size >= batch_bytes:
                break
        groups, self._groups = self._groups[:count], self._groups[count:]
        self._events -= events
        return groups
