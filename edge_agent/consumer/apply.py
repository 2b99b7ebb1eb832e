"""What an event does, given where its stream stands. Pure: no clock, no database; the store carries the effects out in one transaction.

A stream is a CloudEvents ``source``. Inside an ``epoch`` its numbers are contiguous from 1, so:

====================================  ==========================================================================================
``seq <= high``                       a duplicate; with an id that nobody has seen it is an alarm
``seq == high + 1``                   applied, and what was parked behind it
``seq > high + 1``                    parked until the hole is filled, covered by a loss record, or answered as gone
loss record ``seq_from..seq``         closes the hole that ends where it stands
another epoch                         ends the one before: what is parked is applied, its holes are lost; numbers begin again
an epoch that had ended               an alarm: a copied or revived gateway
``retain`` set                        ignored: a retained event would count again for every new subscriber
====================================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from edge_agent.consumer.event import Event

PARKED_MOST = 10_000
"""Events of one stream that wait behind a hole; further ones are not kept, and asked for again when the hole is closed."""

Why = Literal["retained", "duplicate", "full"]
AlarmKind = Literal["unknown_id", "after_loss", "ended_epoch", "two_of_a_number"]
LostHow = Literal["declared", "not_kept", "epoch_ended"]


class Apply(msgspec.Struct, frozen=True):
    """Book the event; ``void``: it says again what was booked under another id, so that only its number is taken."""

    event: Event
    void: bool = False


class Park(msgspec.Struct, frozen=True):
    """Keep the event until what is before it is there."""

    event: Event


class Ignore(msgspec.Struct, frozen=True):
    """Drop the event without a trace in the books."""

    why: Why


class Alarm(msgspec.Struct, frozen=True):
    """A person should know: the event is kept aside and not booked."""

    kind: AlarmKind
    event: Event


class Lost(msgspec.Struct, frozen=True):
    """The numbers ``first`` to ``last`` of ``epoch`` will not come; ``by`` is the id of the event that says so."""

    epoch: str
    first: int
    last: int
    how: LostHow
    by: str | None = None


class Began(msgspec.Struct, frozen=True):
    """A new epoch begins; ``ended`` is the one before, empty for a stream never seen."""

    epoch: str
    ended: str


Effect = Apply | Park | Ignore | Alarm | Lost | Began


class Stream(msgspec.Struct):
    """Where a stream stands: everything up to ``high`` of ``epoch`` is applied or lost; ``parked`` is what waits, by its number."""

    source: str
    epoch: str = ""
    high: int = 0
    parked: dict[int, Event] = {}
    ended: set[str] = set()

    def hole(self) -> tuple[int, int] | None:
        """Return the first missing numbers that something parked stands behind."""
        return (self.high + 1, min(self.parked) - 1) if self.parked else None


class Known(msgspec.Struct, frozen=True):
    """What the store can be asked: ``seen`` whether an id was ever applied, ``lost`` whether a number was given up, ``told`` whether an
    id's fact (not the loss record in its place) is booked."""  # noqa: D205, D209

    seen: Callable[[str], bool]
    lost: Callable[[str, int], bool]
    told: Callable[[str], bool]


def receive(stream: Stream, event: Event, known: Known, *, retained: bool = False) -> Iterator[Effect]:
    """Move ``stream`` by ``event`` and yield what is to be done, in order."""
    if retained:
        yield Ignore("retained")
        return
    if event.epoch != stream.epoch:
        if event.epoch in stream.ended:
            yield Alarm("ended_epoch", event)
            return
        yield from _begin(stream, event.epoch, known)
    if event.seq <= stream.high:
        yield _repeated(event, known)
    elif (other := stream.parked.get(event.seq)) is not None:
        yield Ignore("duplicate") if other.id == event.id else Alarm("two_of_a_number", event)
    elif len(stream.parked) >= PARKED_MOST and event.seq != stream.high + 1 and event.covers is None:
        yield Ignore("full")
    else:
        stream.parked[event.seq] = event
        effects = list(_advance(stream, known))
        if event.seq in stream.parked:
            yield Park(event)
        yield from effects


def answered(stream: Stream, epoch: str, first: int, not_kept: int, known: Known) -> Iterator[Effect]:
    """Take the agent's answer to a resend: of what was asked from ``first`` on, ``not_kept`` numbers are gone for good."""
    if epoch in stream.ended:
        return
    if epoch != stream.epoch:
        yield from _begin(stream, epoch, known)
    last = first + not_kept - 1
    if stream.parked:
        last = min(last, min(stream.parked) - 1)
    if not first <= stream.high + 1 <= last:
        return
    yield Lost(epoch, stream.high + 1, last, "not_kept")
    stream.high = last
    yield from _advance(stream, known)


def _begin(stream: Stream, epoch: str, known: Known) -> Iterator[Effect]:
    """End the epoch that was: what arrived of it counts, what did not is lost; then start at 1."""
    ended = stream.epoch
    while stream.parked:
        first = min(stream.parked)
        yield Lost(ended, stream.high + 1, first - 1, "epoch_ended")
        stream.high = first - 1
        yield from _advance(stream, known)
    if ended:
        stream.ended.add(ended)
    stream.epoch, stream.high = epoch, 0
    yield Began(epoch, ended)


def _repeated(event: Event, known: Known) -> Effect:
    if known.seen(event.id):
        return Ignore("duplicate")
    return Alarm("after_loss" if known.lost(event.epoch, event.seq) else "unknown_id", event)


def _advance(stream: Stream, known: Known) -> Iterator[Effect]:
    """Apply what follows, step over what a loss record covers."""
    while stream.parked:
        event = stream.parked.pop(stream.high + 1, None)
        if event is not None:
            stream.high = event.seq
            yield Apply(event, void=event.retry_of is not None and known.told(event.retry_of))
            continue
        cover = next((one for one in stream.parked.values() if one.covers is not None and one.covers <= stream.high + 1), None)
        if cover is None:
            return
        last = min(stream.parked) - 1  # what arrived of a range that was dropped later counts all the same
        yield Lost(stream.epoch, stream.high + 1, last, "declared", cover.id)
        stream.high = last
