"""When to ask an agent for numbers that are missing. Pure: the time is given, nothing is sent here."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edge_agent.consumer.apply import Stream

MOST = 5_000
"""Numbers asked for at once."""

_RARER, _RAREST = 2.0, 300.0


class Hole(msgspec.Struct, frozen=True):
    """Numbers of a stream that are known to exist and are not here."""

    source: str
    epoch: str
    first: int
    last: int


class _Asked(msgspec.Struct):
    hole: Hole
    due: float
    wait: float


class Asking:
    """Notices holes that stay, and says when to ask for them: after ``patience`` s, then ever more rarely while nothing comes. Machine seconds."""

    def __init__(self, patience: float) -> None:
        """Wait ``patience`` s for what may just be late."""
        self._patience = patience
        self._asked: dict[str, _Asked] = {}

    def due(self, holes: Iterable[Hole], now: float) -> list[Hole]:
        """Return the holes to ask for now; ``holes`` are all that there are."""
        wanted: list[Hole] = []
        there = {hole.source: hole for hole in holes}
        for source in self._asked.keys() - there.keys():
            del self._asked[source]
        for source, hole in there.items():
            asked = self._asked.get(source)
            if asked is None or (asked.hole.epoch, asked.hole.first) != (hole.epoch, hole.first):  # new, or it is being filled
                self._asked[source] = _Asked(hole, now + self._patience, self._patience)
            elif now >= asked.due:
                asked.wait = min(asked.wait * _RARER, _RAREST)
                asked.due = now + asked.wait
                wanted.append(msgspec.structs.replace(hole, last=min(hole.last, hole.first + MOST - 1)))
        return wanted

    def anew(self, now: float) -> None:
        """Forget how often was asked in vain: somebody is back who may not have heard it, or whose answer was lost."""
        for asked in self._asked.values():
            asked.wait, asked.due = self._patience, min(asked.due, now + self._patience)


def holes(streams: Iterable[Stream], published: Iterable[tuple[str, str, int]]) -> list[Hole]:
    """Return the first hole of each stream: behind something parked, or up to what a checkpoint says was sent (source, epoch, number)."""
    found: dict[str, Hole] = {}
    known = {stream.source: stream for stream in streams}
    for source, epoch, last in published:
        stream = known.get(source)
        if stream is None or (stream.epoch != epoch and epoch not in stream.ended):
            found[source] = Hole(source, epoch, 1, last)
        elif stream.epoch == epoch and last > stream.high:
            found[source] = Hole(source, epoch, stream.high + 1, last)
    for stream in known.values():
        hole = stream.hole()
        if hole is not None:
            found[stream.source] = Hole(stream.source, stream.epoch, *hole)
    return [hole for hole in found.values() if hole.last >= hole.first]
