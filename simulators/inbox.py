"""The consumer's side of the delivery contract, and nothing else: each event of a stream once, in the order of its numbers.

Per stream it keeps ``(epoch, last)``. A number at or below ``last`` is a duplicate; the next one is applied; one further on is parked until the hole is
filled, asked for again, or covered by a ``collection.gap`` that names its numbers. What a checkpoint says was sent, and is not here, is a
hole, too: behind the last event before a broker died nothing may come for long. This is written from the published contract alone and
shares no code with the agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class Stream:
    """What is known of one stream (CloudEvents ``source``)."""

    epoch: str = ""
    last: int = 0
    parked: dict[int, Event] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    applied: set[str] = field(default_factory=set)
    epochs: list[str] = field(default_factory=list)
    hole_since: float | None = None
    asked: float = float("-inf")
    published: int = 0

    @property
    def hole(self) -> tuple[int, int] | None:
        """The first and last of the next numbers that exist and are not here; None when nothing is missing."""
        end = min(self.parked) - 1 if self.parked else self.published
        return (self.last + 1, end) if end > self.last else None


@dataclass
class Tally:
    """Counts of everything that was not a plain next event."""

    received: int = 0
    applied: int = 0
    duplicates: int = 0
    parked: int = 0
    declared_missing: int = 0
    retried: int = 0
    retried_in_vain: int = 0
    conflicts: list[str] = field(default_factory=list)


class Inbox:
    """Deduplicates and orders."""

    def __init__(self) -> None:
        """Start empty: the first number of a stream is expected to be 1."""
        self.streams: dict[str, Stream] = {}
        self.tally = Tally()

    def receive(self, event: Event, now: float) -> Iterator[Event]:
        """Yield what can be applied now, in order; ``now`` is machine time in seconds."""
        self.tally.received += 1
        stream = self.streams.setdefault(event["source"], Stream())
        epoch, seq = event["data"]["epoch"], int(event["data"]["seq"])
        if epoch != stream.epoch:
            if epoch in stream.epochs:
                self.tally.conflicts.append(f"{event['id']}: an epoch that had ended")
                return
            stream.epochs.append(epoch)
            stream.epoch, stream.last, stream.parked, stream.published = epoch, 0, {}, 0
        if not self._is_consistent(event, seq):
            return
        if seq <= stream.last or seq in stream.parked:
            self.tally.duplicates += 1
            if event["id"] not in stream.ids:
                self.tally.conflicts.append(f"{event['id']}: an old number with an id never seen")
            return
        stream.ids.add(event["id"])
        stream.parked[seq] = event
        if seq != stream.last + 1:
            self.tally.parked += 1
        yield from self._advance(stream)
        self._look(stream, now)

    def published(self, stream: Stream, epoch: str, seq: int, now: float) -> None:
        """Take from a checkpoint that everything up to ``seq`` was sent; one of another epoch says nothing of this one."""
        if epoch == stream.epoch:
            stream.published = max(stream.published, seq)
            self._look(stream, now)

    @staticmethod
    def _look(stream: Stream, now: float) -> None:
        stream.hole_since = None if stream.hole is None else now if stream.hole_since is None else stream.hole_since

    def _is_consistent(self, event: Event, seq: int) -> bool:
        if int(event["sequence"]) != seq or len(event["sequence"]) != 20:
            self.tally.conflicts.append(f"{event['id']}: sequence {event['sequence']} does not say {seq}")
            return False
        return True

    def _advance(self, stream: Stream) -> Iterator[Event]:
        while stream.parked:
            event = stream.parked.pop(stream.last + 1, None)
            if event is None:
                covering = next((e for e in stream.parked.values() if _covers(e, stream.last + 1)), None)
                if covering is None:
                    return
                stream.last = self._close(stream, int(covering["data"]["seq"]))
                continue
            stream.last += 1
            if self._has_it(stream, event):
                continue
            self.tally.applied += 1
            yield event

    def _close(self, stream: Stream, last: int) -> int:
        """Step over the missing numbers before the next one that is here, ``last`` at most; return the number stepped to."""
        there = min(stream.parked)  # what arrived of a range that was dropped later is applied all the same
        self.tally.declared_missing += min(there, last) - stream.last - 1
        return min(there, last) - 1

    def _has_it(self, stream: Stream, event: Event) -> bool:
        """Say whether a dead letter that was sent again (``retry_of``) tells what was applied under its first name.

        The loss record that took its place has the same name, and is not what it said.
        """
        original = event["data"].get("retry_of")
        if original is not None:
            self.tally.retried += 1
        if original in stream.applied:
            self.tally.retried_in_vain += 1
            return True
        if not _covers(event, int(event["data"]["seq"])):
            stream.applied.add(event["id"] if original is None else original)
        return False

    def watermarks(self) -> Iterator[tuple[str, str, int]]:
        """Yield (source, epoch, number up to which everything is applied) of every stream."""
        for source, stream in self.streams.items():
            yield source, stream.epoch, stream.last

    def holes(self, now: float, patience: float = 0.5, again: float = 2.0) -> Iterator[tuple[str, str, int, int]]:
        """Yield (source, epoch, first, last missing) of every hole worth asking for now."""
        for source, stream in self.streams.items():
            if (
                (hole := stream.hole) is not None
                and stream.hole_since is not None
                and now - stream.hole_since >= patience
                and now - stream.asked >= again
            ):
                stream.asked = now
                yield source, stream.epoch, *hole

    def missing(self) -> int:
        """Return how many numbers are known to exist and were neither delivered nor declared lost."""
        return sum(max(0, max([s.published, *s.parked]) - s.last - len(s.parked)) for s in self.streams.values())


def _covers(event: Event, seq: int) -> bool:
    data = event["data"]
    first, last = data.get("seq_from"), data.get("seq_to")
    return event["type"].endswith("collection.gap.v1") and first is not None and int(first) <= seq <= int(last)
