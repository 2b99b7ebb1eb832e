"""A unit's states as a row of segments without holes. Pure.

A machine that could not be seen is *unknown*, never what it was before. Where the agent says that it was the same before and after and
nothing speaks of a restart (``continuity`` proven or assumed), the time in between is counted as that state and marked as bridged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

UNKNOWN = "unknown"
Span = tuple[int, int]


class Seen(msgspec.Struct, frozen=True):
    """A row of ``states``. Times in UTC microseconds."""

    at: int
    category: str
    name: str
    continuity: str | None = None
    origin: str = "change"


class Segment(msgspec.Struct, frozen=True):
    """One state from ``begin`` to ``end``; ``bridged``: nobody saw it, but nothing speaks against it."""

    begin: int
    end: int
    category: str
    name: str
    bridged: bool = False

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.end - self.begin) / 1e6


def segments(rows: Iterable[Seen], begin: int, end: int) -> list[Segment]:
    """Return the states between ``begin`` and ``end`` from ``rows`` in the order of their times, those before ``begin`` too."""
    changes: list[Seen] = []
    for row in rows:
        if row.origin == "snapshot" and changes:
            continue  # what stood before anybody looked is news once
        changes.append(row)
    found: list[Segment] = []
    at = begin
    known = Seen(begin, UNKNOWN, "Unknown")
    for number, row in enumerate([*changes, Seen(end, "", "")]):
        until = min(max(row.at, begin), end)
        if until > at:
            found.append(_segment(changes, number, known, at, until))
            at = until
        known = row
    return _merged(found)


def _segment(changes: Sequence[Seen], number: int, known: Seen, begin: int, end: int) -> Segment:
    """Return the segment that ends where change ``number`` begins."""
    if known.category == UNKNOWN and 2 <= number < len(changes):
        before, after = changes[number - 2], changes[number]
        if after.continuity in {"proven", "assumed"} and (before.category, before.name) == (after.category, after.name):
            return Segment(begin, end, after.category, after.name, bridged=True)
    return Segment(begin, end, known.category, known.name)


def _merged(found: Sequence[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for one in found:
        last = merged[-1] if merged else None
        if last is not None and (last.category, last.name, last.bridged) == (one.category, one.name, one.bridged):
            merged[-1] = msgspec.structs.replace(last, end=one.end)
        else:
            merged.append(one)
    return merged


def within(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """Return the parts of ``spans`` between ``begin`` and ``end``."""
    cut = ((max(first, begin), min(last, end)) for first, last in spans)
    return [(first, last) for first, last in cut if last > first]


def seconds(parts: Iterable[Segment], spans: Sequence[Span], category: str, *, bridged: bool | None = None) -> float:
    """Return how long ``category`` lasted inside ``spans``; ``bridged``: only what is, or is not."""
    chosen = [one for one in parts if one.category == category and (bridged is None or one.bridged == bridged)]
    return sum((last - first) / 1e6 for one in chosen for first, last in within(spans, one.begin, one.end))
